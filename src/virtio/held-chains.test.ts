import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  type Chain,
  DeviceBench,
  type DeviceQueue,
  defineDevice,
  le32,
  type MakeDevice,
  struct,
} from '../index.js';

/** A device that keeps the last buffer of a queue, as virtio-balloon does, and speaks each second. */
function keeper(
  mark: number,
  { adopts = true, yields = true }: { adopts?: boolean; yields?: boolean } = {},
): MakeDevice {
  return defineDevice(() => {
    let held: Chain | undefined;
    return {
      id: 60,
      name: `keeper${mark}`,
      queues: [
        {
          name: 'statsq',
          posted(_, queue) {
            for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
              if (held !== undefined) queue.push(held);
              held = chain;
            }
          },
          stopping(_, queue) {
            if (held !== undefined) queue.push(held);
            held = undefined;
          },
        },
      ],
      activate({ clock, print, queues }) {
        if (held !== undefined && adopts) queues.statsq.adopt(held);
        const alarm = clock.alarm(() => {
          print(`${mark} speaks`);
          alarm.set(clock.now() + 1e9);
        });
        alarm.set(clock.now() + 1e9);
      },
      save: () => held,
      restore(state) {
        held = state as Chain;
      },
      replaced({ queues, print }) {
        if (!yields) return;
        print(`${mark} replaced`);
        if (!adopts && held !== undefined) queues.statsq.push(held);
      },
    };
  });
}

describe('chains that a device keeps', () => {
  test('are handed back when their queue is stopped', () => {
    const bench = new DeviceBench(keeper(1));
    bench.post('statsq', 4);
    assert.deepEqual(bench.received('statsq'), []);
    assert.equal(bench.stop('statsq'), true);
    assert.equal(bench.received('statsq').length, 1);
  });

  test('keep their queue from being stopped where the device has no word in it', () => {
    const held: Chain[] = [];
    const bench = new DeviceBench(
      defineDevice({
        id: 60,
        name: 'mute',
        queues: [{ name: 'q', posted: (_, queue) => void held.push(queue.pop()!) }],
      }),
    );
    bench.post('q', 4);
    assert.equal(bench.stop('q'), false);
  });

  test('are adopted by edited code, beside which no old alarm speaks', () => {
    const bench = new DeviceBench(keeper(1));
    bench.post('statsq', 4);
    bench.advance(1e9);
    bench.replace(keeper(2));
    assert.deepEqual(bench.lines.splice(0), ['1 speaks', '1 replaced']);
    assert.deepEqual(bench.received('statsq'), [], 'it is with the new one');
    bench.advance(2e9);
    assert.deepEqual(bench.lines, ['2 speaks', '2 speaks']);
    bench.post('statsq', 4);
    assert.equal(bench.received('statsq').length, 1, 'which hands it back');
    assert.equal(bench.stop('statsq'), true);
  });

  test('are handed back by old code that is told of its end, and that is closed then', () => {
    const bench = new DeviceBench(keeper(1, { adopts: false }));
    bench.post('statsq', 4);
    bench.replace(keeper(2, { adopts: false }));
    assert.equal(bench.received('statsq').length, 1);
    bench.advance(1e9);
    assert.deepEqual(bench.lines, ['1 replaced', '2 speaks']);
  });

  test('stay the old one’s while nobody takes them: a queue that is stopped asks it too', () => {
    const bench = new DeviceBench(keeper(1, { adopts: false, yields: false }));
    bench.post('statsq', 4);
    bench.replace(keeper(2, { adopts: false, yields: false }));
    assert.equal(bench.stop('statsq'), true);
    assert.equal(bench.received('statsq').length, 1);
    bench.advance(1e9);
    assert.deepEqual(bench.lines, ['2 speaks']);
  });

  test('are the new one’s once adopted: what the old one hands back of them does nothing', () => {
    const olds: { held: Chain; queue: DeviceQueue }[] = [];
    /** Hands back all that it holds when it is replaced, whoever took it. */
    const make = defineDevice(() => {
      let held: Chain[] = [];
      return {
        id: 60,
        name: 'all',
        queues: [
          {
            name: 'q',
            posted(_, queue) {
              for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) held.push(chain);
            },
            stopping(_, queue) {
              for (const chain of held.splice(0)) queue.push(chain);
            },
          },
        ],
        activate({ queues }) {
          for (const chain of held) queues.q.adopt(chain);
        },
        // All but the last.
        save: () => held.slice(0, -1),
        restore(state) {
          held = state as Chain[];
        },
        replaced({ queues: { q } }) {
          olds.push({ held: held[0]!, queue: q });
          for (const chain of held) q.push(chain);
        },
      };
    });
    const bench = new DeviceBench(make);
    bench.post('q', 4, 3);
    bench.replace(make);
    assert.equal(bench.received('q').length, 1, 'the one that was not adopted');
    bench.replace(make);
    assert.equal(bench.received('q').length, 1);
    // Whenever the old ones say so: now, and when the driver has it again, and posted it anew.
    const again = (): void => {
      for (const { held, queue } of olds) {
        queue.push(held);
        queue.flush();
      }
    };
    again();
    assert.deepEqual([bench.received('q'), bench.warnings, bench.broken], [[], [], []]);
    assert.equal(bench.stop('q'), true);
    assert.equal(bench.received('q').length, 1);
    again();
    assert.deepEqual([bench.received('q'), bench.warnings, bench.broken], [[], [], []]);
  });

  test('stay with the old one when the new one fails after it adopted them', () => {
    const bench = new DeviceBench(keeper(1));
    bench.post('statsq', 4);
    const broken = defineDevice(() => {
      let held: Chain | undefined;
      return {
        id: 60,
        name: 'broken',
        queues: [{ name: 'statsq' }],
        restore(state) {
          held = state as Chain;
        },
        activate({ queues }) {
          queues.statsq.adopt(held!);
          throw new Error('too bad');
        },
      };
    });
    assert.throws(() => bench.replace(broken), /too bad/);
    bench.post('statsq', 4);
    assert.equal(bench.received('statsq').length, 1);
  });
});

describe('the configuration space over a reload', () => {
  const Config = struct({ pages: le32, actual: le32, limit: le32 });
  const device = (limit: number, pages: number, write?: number): MakeDevice =>
    defineDevice({
      id: 60,
      name: 'config',
      config: { struct: Config, initial: { pages, limit }, writable: ['actual'] },
      queues: [],
      activate({ config }) {
        if (write !== undefined) config.pages = write;
      },
    });

  test('what the device and its driver wrote stays, and what the code says first is the new code’s', () => {
    const bench = new DeviceBench(device(5, 0, 0x01_00));
    bench.writeConfig(Config, { actual: 9 });
    assert.deepEqual(bench.readConfig(Config), { pages: 0x01_00, actual: 9, limit: 5 });
    bench.replace(device(6, 0x7f));
    assert.deepEqual(bench.readConfig(Config), { pages: 0x01_00, actual: 9, limit: 6 });
    bench.replace(device(7, 0x01_00));
    bench.replace(device(8, 3));
    assert.deepEqual(bench.readConfig(Config), { pages: 0x01_00, actual: 9, limit: 8 });
  });

  test('a reset leaves it as it is, but for what the device sets then, under another generation', () => {
    const make = defineDevice({
      id: 60,
      name: 'config',
      config: { struct: Config, initial: { pages: 1 }, writable: ['actual', 'limit'] },
      queues: [],
      reset({ config }) {
        config.actual = 0;
      },
    });
    const bench = new DeviceBench(make);
    bench.writeConfig(Config, { actual: 5, limit: 6 });
    const { generation } = bench.runner.device.config;
    bench.reset();
    bench.start();
    assert.deepEqual(bench.readConfig(Config), { pages: 1, actual: 0, limit: 6 });
    assert.notEqual(bench.runner.device.config.generation, generation);
  });

  test('code that writes has the last word', () => {
    const bench = new DeviceBench(device(5, 0, 1));
    bench.replace(device(5, 0, 2));
    assert.equal(bench.readConfig(Config).pages, 2);
  });
});
