import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Chain } from '../virtqueue/chain.js';
import { defineDevice } from './define-device.js';
import { le16, le32, struct, u8 } from './struct.js';
import { structQueue } from './struct-queue.js';
import { DeviceBench } from './testing/device-bench.js';

const raw = (...values: number[]): Uint8Array => Uint8Array.from(values);

describe('defineDevice', () => {
  const double = struct({ n: le32 });

  test('a request is handled from its fields, and answered from what the handler returns', () => {
    const device = defineDevice({
      id: 63,
      name: 'double',
      queues: [
        structQueue({ name: 'q', request: double, response: double, handle: ({ n }) => ({ n: 2 * n }) }),
      ],
    })();
    const bench = new DeviceBench(device);
    assert.deepEqual(double.decode(bench.ask(0, double.encode({ n: 21 }), 4)!), { n: 42 });
    assert.equal(bench.ask(0, raw(1), 4)!.length, 0);
    assert.equal(bench.ask(0, raw(1, 2, 3, 4), 3)!.length, 0);
    assert.match(
      bench.warnings[0]!,
      /a request on q is not answered: got 1 byte and room for 4, expected 4 of \{ n \} and room for 4 of \{ n \}/,
    );
  });

  test('async handlers answer when they are done, in any order; one that fails is returned empty', async () => {
    const waiting: (() => void)[] = [];
    const device = defineDevice({
      id: 63,
      name: 'later',
      queues: [
        structQueue({
          name: 'q',
          request: double,
          response: double,
          async handle({ n }) {
            await new Promise<void>((resolve) => waiting.push(resolve));
            if (n === 0) throw new Error('no zeros');
            return { n };
          },
        }),
      ],
    })();
    const bench = new DeviceBench(device);
    const sent = [1, 0, 3].map((n) => bench.ask(0, double.encode({ n }), 4));
    assert.deepEqual(sent, [undefined, undefined, undefined]);
    for (const done of waiting.reverse()) done();
    await new Promise(setImmediate);
    const answers = [1, 2, 3].map(() => bench.drivers[0]!.receive()!.bytes);
    assert.deepEqual(
      answers.map((answer) => (answer.length === 0 ? undefined : double.decode(answer).n)),
      [3, undefined, 1],
    );
    assert.deepEqual(bench.warnings, ['later: a request on q failed: no zeros']);
    assert.deepEqual(bench.broken, []);
  });

  /** A device that writes its answer when told, with a request under way. */
  function underWay(): { bench: DeviceBench; finish: () => Promise<void> } {
    let done: () => void = () => {};
    const later = new Promise<void>((resolve) => {
      done = resolve;
    });
    const handle = async (chain: Chain): Promise<void> => {
      await later;
      chain.write(raw(1));
    };
    const bench = new DeviceBench(defineDevice({ id: 63, name: 'late', queues: [{ name: 'q', handle }] })());
    bench.ask(0, raw(1), 1);
    const finish = async (): Promise<void> => {
      done();
      await new Promise(setImmediate);
    };
    return { bench, finish };
  }

  test('an answer that comes after the reset goes nowhere', async () => {
    const { bench, finish } = underWay();
    bench.runner.reset();
    await finish();
    assert.equal(bench.drivers[0]!.receive(), undefined);
    assert.deepEqual([bench.warnings, bench.broken], [[], []]);
  });

  test('an answer that comes after its queue was stopped without it goes nowhere, and nobody is told', async () => {
    const { bench, finish } = underWay();
    bench.runner.stopQueue(0);
    await finish();
    assert.equal(bench.drivers[0]!.receive(), undefined);
    assert.deepEqual([bench.warnings, bench.broken], [[], []]);
  });

  test('memory that is gone when an async handler writes breaks the queue, not the process', async () => {
    const { bench, finish } = underWay();
    bench.drivers[0]!.memory.clear();
    await finish();
    assert.deepEqual(bench.broken, [0]);
    assert.match(bench.warnings[0]!, /queue 0 \(q\) is broken until reset/);
  });

  test('2.5: the configuration space starts as told, and only named fields can be written', () => {
    const seen: number[] = [];
    const device = defineDevice({
      id: 63,
      name: 'config',
      config: { struct: struct({ a: le32, b: le16, c: le16 }), initial: { a: 1, b: 2 }, writable: ['b'] },
      queues: [],
      configWritten: ({ config }) => void seen.push(config.a, config.b, config.c),
    })();
    const bench = new DeviceBench(device);
    bench.runner.writeConfig(0, raw(9, 9, 9, 9, 9, 9, 9, 9));
    assert.deepEqual(seen, [1, 0x0909, 0]);
    assert.deepEqual([...bench.runner.readConfig(0, 8)], [1, 0, 0, 0, 9, 9, 0, 0]);
  });

  test('3.1.1: a driver may write to the configuration space before it is ready', () => {
    const seen: [number, boolean][] = [];
    const device = defineDevice({
      id: 63,
      name: 'early',
      config: { struct: struct({ select: u8, answer: u8 }), writable: ['select'] },
      queues: [],
      configWritten({ config, clock }) {
        config.answer = config.select + 1;
        seen.push([config.select, clock !== undefined]);
      },
    })();
    device.config.write(0, raw(4));
    device.configWritten?.(0, 1);
    assert.deepEqual([...device.config.read(0, 2)], [4, 5]);
    const bench = new DeviceBench(device);
    bench.runner.writeConfig(0, raw(7));
    assert.deepEqual([...bench.runner.readConfig(0, 2)], [7, 8]);
    assert.deepEqual(seen, [
      [4, false],
      [7, true],
    ]);
  });

  test('buffers of a queue without a handler stay in it; the device hears of them', () => {
    const waiting = [1, 2, 3];
    const device = defineDevice({
      id: 63,
      name: 'waiting',
      queues: [
        {
          name: 'eventq',
          posted({ queues }) {
            const chain = waiting.length > 0 ? queues[0]!.pop() : undefined;
            if (chain === undefined) return;
            chain.write(raw(waiting.shift()!));
            queues[0]!.push(chain);
          },
        },
        { name: 'quietq' },
      ],
    })();
    const bench = new DeviceBench(device);
    const post = (queue: number): Uint8Array | undefined => {
      bench.drivers[queue]!.send([], [1]);
      bench.kick(queue);
      return bench.drivers[queue]!.receive()?.bytes;
    };
    assert.deepEqual([post(0), post(0), post(1)], [raw(1), raw(2), undefined]);
    assert.deepEqual([bench.warnings, bench.broken], [[], []]);
  });

  test('what a device holds it gives back at its end', () => {
    const seen: string[] = [];
    const note = (what: string) => () => void seen.push(what);
    const device = defineDevice({
      id: 63,
      name: 'closing',
      queues: [],
      activate: note('activate'),
      reset: note('reset'),
      close: note('close'),
    })();
    new DeviceBench(device).runner.close();
    assert.deepEqual(seen, ['activate', 'reset', 'close']);
  });

  test('2.2: features are offered by name, and asked for by name', () => {
    let has: boolean[] = [];
    const device = defineDevice({
      id: 63,
      name: 'features',
      features: { FAST: 0, LOUD: 5 },
      queues: [],
      activate(device) {
        has = [device.has('FAST'), device.has('LOUD')];
        assert.throws(() => device.has('SHY'), /no feature SHY/);
      },
    })();
    assert.equal(device.features, 0b100001n);
    new DeviceBench(device, { features: [5] });
    assert.deepEqual(has, [false, true]);
  });

  test('2.2: bits up to 127 are a device its own', () => {
    const seen: boolean[] = [];
    const device = defineDevice({
      id: 63,
      name: 'wide',
      features: { LOW: 63, HIGH: 64, TOP: 127 },
      queues: [],
      activate: ({ has }) => void seen.push(has('LOW'), has('HIGH'), has('TOP')),
    })();
    assert.equal(device.features, (1n << 127n) | (3n << 63n));
    new DeviceBench(device, { features: 1n << 127n });
    assert.deepEqual(seen, [false, false, true]);
  });

  test('2.7: a queue says a size, and may limit those that were not told', () => {
    const { queues } = defineDevice({
      id: 63,
      name: 'sizes',
      queues: [{ name: 'a' }, { name: 'b', size: 16, sizeLimit: 64 }],
    })();
    assert.deepEqual(
      queues.map(({ size, sizeLimit }) => [size, sizeLimit]),
      [
        [256, undefined],
        [16, 64],
      ],
    );
  });

  test('queues of which a front-end takes as many as it likes, typed like the others', async () => {
    const seen: string[] = [];
    const ready: boolean[] = [];
    const make = defineDevice({
      id: 63,
      name: 'many',
      config: { struct: struct({ step: le32 }), initial: { step: 10 } },
      queues: [
        {
          upTo: 3,
          queues: [
            { name: 'in', posted: (device, { name }) => void seen.push(`${name} ${device.config.step}`) },
            structQueue({
              name: 'out',
              request: double,
              response: double,
              handle: ({ n }, { queues }, queue) => {
                ready.push(queue.ready, queues[0]!.ready);
                return { n: n + queue.index };
              },
            }),
          ],
        },
        { name: 'control', handle: (chain, { config }) => void chain.write(raw(config.step)) },
      ],
    });
    const device = make();
    assert.deepEqual(
      device.queues.map(({ name }) => name),
      ['in1', 'out1', 'in2', 'out2', 'in3', 'out3', 'control'],
    );
    const bench = new DeviceBench(device);
    bench.runner.stopQueue(0);
    assert.deepEqual(double.decode(bench.ask(5, double.encode({ n: 20 }), 4)!), { n: 25 });
    bench.drivers[2]!.send([], [1]);
    bench.kick(2);
    assert.deepEqual([...bench.ask(6, raw(0), 1)!], [10]);
    assert.deepEqual([seen, ready], [['in2 10'], [true, false]]);
  });

  test('what can be no device is refused with what to do', () => {
    const define = (more: object): unknown => defineDevice({ id: 1, name: 'x', queues: [], ...more })();
    assert.throws(() => define({ features: { RING: 28 } }), /a device's own are 0-23 and 50-127/);
    assert.throws(() => define({ queues: [{ name: 'q', size: 100 }] }), /take a power of two/);
    assert.throws(() => define({ features: { RESERVED: 128 } }), /has bit 128/);
    assert.throws(() => define({ queues: [{ name: 'q', sizeLimit: 0 }] }), /take a power of two/);
    assert.throws(() => define({ queues: [{ name: 'q', sizeLimit: 64 }] }), /size 256, above its limit 64/);
    assert.throws(() => define({ queues: [{ upTo: 0, queues: [] }] }), /a number of queues from 1 to 1024/);
    const pairs = { upTo: 600, queues: [{ name: 'rx' }, { name: 'tx' }] };
    assert.throws(() => define({ queues: [pairs] }), /has 1200 queues: 1024 are the most/);
    assert.throws(() => define({ config: { struct: double, writable: ['m'] } }), /no field m/);
  });

  test('each front-end gets a device with state of its own', () => {
    const make = defineDevice(() => {
      let count = 0;
      return {
        id: 63,
        name: 'count',
        queues: [
          structQueue({ name: 'q', request: double, response: double, handle: () => ({ n: ++count }) }),
        ],
      };
    });
    const [one, two] = [new DeviceBench(make()), new DeviceBench(make())];
    const ask = (bench: DeviceBench): number => double.decode(bench.ask(0, double.encode({ n: 0 }), 4)!).n;
    assert.deepEqual([ask(one), ask(one), ask(two)], [1, 2, 1]);
  });
});
