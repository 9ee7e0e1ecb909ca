import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Chain } from '../virtqueue/chain.js';
import type { Alarm } from './clock.js';
import { ConfigSpace } from './config-space.js';
import { defineDevice } from './define-device.js';
import type { DeviceHost, DeviceQueue, VirtioDevice } from './device.js';
import { ReplaceError } from './replace-error.js';
import { le32, struct } from './struct.js';
import { structQueue } from './struct-queue.js';
import { DeviceBench } from './testing/device-bench.js';

/** Answers each request with its own mark, or keeps it; what is not said here is the same for all. */
class Marked implements VirtioDevice {
  readonly id: number = 63;
  readonly name: string = 'marked';
  readonly features: bigint = 0b11n;
  readonly queues: { name: string; size: number }[] = [
    { name: 'first', size: 8 },
    { name: 'second', size: 8 },
  ];
  readonly config: ConfigSpace = new ConfigSpace(8, [[4, 8]]);
  readonly mark: number;
  readonly calls: string[] = [];
  host: DeviceHost | undefined;
  keep = false;
  kept: Chain[] = [];
  restored: unknown;

  constructor(mark: number) {
    this.mark = mark;
  }

  activate(host: DeviceHost): void {
    this.calls.push('activate');
    this.host = host;
  }

  queueNotified(queue: DeviceQueue): void {
    for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
      if (this.keep) this.kept.push(chain);
      else this.answer(queue, chain);
    }
  }

  answer(queue: DeviceQueue, chain: Chain): void {
    chain.write(Uint8Array.of(this.mark));
    queue.push(chain);
  }

  reset(): void {
    this.calls.push('reset');
  }

  close(): void {
    this.calls.push('close');
  }

  save(): unknown {
    return `state of ${this.mark}`;
  }

  restore(state: unknown): void {
    this.calls.push('restore');
    this.restored = state;
  }
}

const request = Uint8Array.of(0);
const ask = (bench: DeviceBench, queue = 0): number | undefined => bench.ask(queue, request, 1)?.[0];

describe('a device is replaced', () => {
  test('the next request is answered by the new one, which was restored and then activated', () => {
    const [old, next] = [new Marked(1), new Marked(2)];
    const bench = new DeviceBench(old);
    assert.equal(ask(bench), 1);
    bench.runner.replace(next);
    assert.equal(next.restored, 'state of 1');
    assert.deepEqual(next.calls, ['restore', 'activate']);
    assert.deepEqual(old.calls, ['activate', 'close']);
    assert.equal(ask(bench), 2);
    assert.equal(ask(bench, 1), 2);
    assert.deepEqual([bench.warnings, bench.broken], [[], []]);
  });

  test('before the driver is ready: nothing is activated before it is', () => {
    const [old, next] = [new Marked(1), new Marked(2)];
    const bench = new DeviceBench(old);
    bench.runner.reset();
    bench.runner.replace(next);
    assert.deepEqual(next.calls, ['restore']);
    assert.equal(bench.runner.device, next);
  });

  test('requests in flight come back from the old one, and it is closed after the last', () => {
    const [old, next] = [new Marked(1), new Marked(2)];
    const bench = new DeviceBench(old);
    old.keep = true;
    assert.deepEqual([ask(bench), ask(bench), ask(bench, 1)], [undefined, undefined, undefined]);
    bench.runner.replace(next);
    bench.settle();
    assert.equal(ask(bench), 2);
    const [first, second] = old.host!.queues as [DeviceQueue, DeviceQueue];
    for (const chain of old.kept.slice(0, 2)) old.answer(first, chain);
    first.flush();
    bench.settle();
    assert.deepEqual(old.calls, ['activate'], 'it still holds one of the other queue');
    assert.deepEqual([bench.drivers[0]!.receive()?.bytes[0], bench.drivers[0]!.receive()?.bytes[0]], [1, 1]);
    old.answer(second, old.kept[2]!);
    second.flush();
    bench.settle();
    assert.equal(bench.drivers[1]!.receive()?.bytes[0], 1);
    assert.deepEqual(old.calls, ['activate', 'close']);
  });

  test('one that holds several of one queue is closed after the last', () => {
    const old = new Marked(1);
    const bench = new DeviceBench(old);
    old.keep = true;
    for (let i = 0; i < 3; i++) ask(bench);
    bench.runner.replace(new Marked(2));
    const closed = old.kept.map((chain) => {
      old.answer(old.host!.queues[0]!, chain);
      bench.settle();
      return old.calls.includes('close');
    });
    assert.deepEqual(closed, [false, false, true]);
  });

  test('three in a row, each with a request in flight: each finishes its own', () => {
    const devices = [new Marked(1), new Marked(2), new Marked(3)] as const;
    const bench = new DeviceBench(devices[0]);
    for (const device of devices) {
      if (device !== devices[0]) bench.runner.replace(device);
      device.keep = true;
      ask(bench);
    }
    for (const device of [devices[1], devices[0], devices[2]]) {
      const queue = device.host!.queues[0]!;
      device.answer(queue, device.kept[0]!);
      queue.flush();
      bench.settle();
      assert.equal(bench.drivers[0]!.receive()?.bytes[0], device.mark);
    }
    assert.deepEqual(
      devices.map(({ calls }) => calls.includes('close')),
      [true, true, false],
    );
  });

  test('the old one gets no more chains, and none of its config changes reach the driver', () => {
    const old = new Marked(1);
    const bench = new DeviceBench(old);
    old.keep = true;
    ask(bench);
    bench.runner.replace(new Marked(2));
    bench.settle();
    bench.drivers[0]!.send([request], [1]);
    bench.drivers[0]!.publish();
    assert.equal(old.host!.queues[0]!.pop(), undefined);
    old.host!.configChanged();
    assert.equal(bench.configInterrupts, 0);
    bench.runner.kick(0);
    assert.equal(bench.drivers[0]!.receive()?.bytes[0], 2);
  });

  test('buffers that lay unused in the queue are for the new one, without a kick', () => {
    const old = new Marked(1);
    const bench = new DeviceBench(old);
    old.queueNotified = () => {};
    assert.equal(ask(bench), undefined);
    bench.runner.replace(new Marked(2));
    bench.settle();
    assert.equal(bench.drivers[0]!.receive()?.bytes[0], 2);
    assert.deepEqual(bench.interrupts, [1, 0]);
  });

  test('chains can be handed over with the state', () => {
    const [old, next] = [new Marked(1), new Marked(2)];
    const bench = new DeviceBench(old);
    old.keep = true;
    ask(bench);
    old.save = () => old.kept;
    next.activate = (host) => {
      for (const chain of next.restored as Chain[]) next.answer(host.queues[0]!, chain);
    };
    bench.runner.replace(next);
    bench.settle();
    assert.equal(bench.drivers[0]!.receive()?.bytes[0], 2);
    assert.deepEqual(old.calls, ['activate', 'close']);
  });

  test('2.4: a reset lets go of all that replaced devices hold, and resets the last one', () => {
    const [old, next] = [new Marked(1), new Marked(2)];
    const bench = new DeviceBench(old);
    old.keep = true;
    ask(bench);
    bench.runner.replace(next);
    bench.runner.reset();
    assert.deepEqual(old.calls, ['activate', 'close']);
    assert.deepEqual(next.calls, ['restore', 'activate', 'reset']);
    old.host!.queues[0]!.push(old.kept[0]!);
    bench.runner.close();
    assert.deepEqual(bench.warnings, []);
  });

  test('a queue that broke is broken for the new one too, and holds no old device', () => {
    const old = new Marked(1);
    const bench = new DeviceBench(old);
    old.keep = true;
    ask(bench);
    bench.runner.replace(new Marked(2));
    old.host!.queues[0]!.fail(new Error('no good'));
    bench.settle();
    assert.deepEqual(old.calls, ['activate', 'close']);
    assert.equal(ask(bench), undefined);
    assert.equal(ask(bench, 1), 2);
  });

  test('draining waits for the chains of all devices', () => {
    const old = new Marked(1);
    const bench = new DeviceBench(old);
    old.keep = true;
    ask(bench);
    bench.runner.replace(new Marked(2));
    let drained = false;
    bench.runner.whenDrained(0, () => {
      drained = true;
    });
    assert.equal(drained, false);
    old.answer(old.host!.queues[0]!, old.kept[0]!);
    assert.equal(drained, true);
  });
});

describe('time goes on', () => {
  /** Rings each 100 ns, from where the one before was. */
  class Ticking extends Marked {
    alarm: Alarm | undefined;
    next = 100;
    readonly rang: number[] = [];

    override activate(host: DeviceHost): void {
      super.activate(host);
      this.alarm = host.clock.alarm(() => {
        this.rang.push(host.clock.now());
        this.next += 100;
        this.alarm!.set(this.next);
      });
      this.alarm.set(this.next);
    }

    override save(): unknown {
      return this.next;
    }

    override restore(state: unknown): void {
      this.next = state as number;
    }
  }

  test('the old alarms end, and the new device goes on from its state', () => {
    const [old, next] = [new Ticking(1), new Ticking(2)];
    const bench = new DeviceBench(old);
    bench.advance(250);
    bench.runner.replace(next);
    bench.advance(250);
    assert.deepEqual(
      [old.rang, next.rang],
      [
        [100, 200],
        [300, 400, 500],
      ],
    );
    assert.equal(bench.clock.open, 1);
    old.alarm!.set(0);
    bench.advance(10);
    assert.deepEqual(old.rang, [100, 200]);
  });

  test('an alarm that a request in flight waits for still rings', () => {
    const [old, next] = [new Marked(1), new Marked(2)];
    const bench = new DeviceBench(old);
    old.queueNotified = (queue) => {
      const chain = queue.pop();
      if (chain !== undefined) old.host!.clock.alarm(() => old.answer(queue, chain)).set(100);
    };
    ask(bench);
    bench.runner.replace(next);
    bench.advance(100);
    assert.equal(bench.drivers[0]!.receive()?.bytes[0], 1);
    assert.deepEqual(old.calls, ['activate', 'close']);
    assert.equal(bench.clock.open, 0);
  });

  test('what time the guest lost before stays lost', () => {
    const next = new Ticking(2);
    const bench = new DeviceBench(new Ticking(1));
    bench.advance(150);
    bench.runner.pause();
    bench.advance(1000);
    bench.runner.activate();
    bench.runner.replace(next);
    bench.advance(100);
    assert.deepEqual(next.rang, [200]);
  });

  test('a guest that stands still does so for the new device too', () => {
    const [old, next] = [new Ticking(1), new Ticking(2)];
    const bench = new DeviceBench(old);
    bench.advance(50);
    bench.runner.pause();
    bench.advance(1000);
    bench.runner.replace(next);
    bench.advance(1000);
    assert.deepEqual(next.rang, []);
    bench.runner.activate();
    bench.advance(60);
    assert.deepEqual(next.rang, [100]);
  });
});

describe('2.5 configuration space', () => {
  test('what the driver wrote stays, what the device says is the new one’s, and the driver hears of it', () => {
    const [old, next] = [new Marked(1), new Marked(2)];
    next.config.view.setUint32(0, 7, true);
    const bench = new DeviceBench(old);
    bench.runner.writeConfig(4, Uint8Array.of(1, 2, 3, 4));
    old.host!.configChanged();
    const before = bench.runner.device.config.generation;
    bench.runner.replace(next);
    assert.deepEqual([...bench.runner.readConfig(0, 8)], [7, 0, 0, 0, 1, 2, 3, 4]);
    assert.equal(bench.configInterrupts, 2);
    assert.ok(next.config.generation > before);
  });

  test('a device that says the same does not interrupt', () => {
    const bench = new DeviceBench(new Marked(1));
    bench.runner.replace(new Marked(2));
    assert.equal(bench.configInterrupts, 0);
  });
});

describe('a replacement that can not be', () => {
  const refused: readonly (readonly [what: string, change: object, says: RegExp])[] = [
    ['another id', { id: 64 }, /^the device id changed from 63 to 64: restart the guest/],
    ['fewer queues', { queues: [{ name: 'first', size: 8 }] }, /^the number of queues changed from 2 to 1/],
    [
      'another queue size',
      {
        queues: [
          { name: 'first', size: 8 },
          { name: 'other', size: 16 },
        ],
      },
      /^queue 1 \(other\) changed its size from 8 to 16/,
    ],
    ['more configuration', { config: new ConfigSpace(12) }, /^the configuration .* from 8 to 12 bytes/],
    ['a feature less that the driver uses', { features: 0b101n }, /^feature 1 is offered no more/],
  ];
  for (const [what, change, says] of refused) {
    test(`${what}: the old one goes on`, () => {
      const old = new Marked(1);
      const next = Object.assign(new Marked(2), change);
      const bench = new DeviceBench(old);
      assert.throws(
        () => bench.runner.replace(next),
        (error) => error instanceof ReplaceError && says.test(error.message),
      );
      assert.deepEqual(next.calls, ['close']);
      assert.equal(ask(bench), 1);
    });
  }

  test('features may come, and go that the driver does not use', () => {
    const bench = new DeviceBench(new Marked(1), { features: 0b01n });
    bench.runner.replace(Object.assign(new Marked(2), { features: 0b101n }));
    assert.equal(ask(bench), 2);
    assert.equal(bench.runner.offered & 0b111n, 0b101n);
  });

  for (const method of ['save', 'restore', 'activate'] as const) {
    test(`${method} throws: the old one goes on as if nothing had been`, () => {
      const [old, next] = [new Marked(1), new Marked(2)];
      const bench = new DeviceBench(old);
      old.keep = true;
      ask(bench);
      (method === 'save' ? old : next)[method] = (host?: unknown) => {
        if (method === 'activate') {
          // All that it may have done before: the driver sees nothing of it.
          const { clock, queues, configChanged } = host as DeviceHost;
          clock.alarm(() => assert.fail('rang')).set(10);
          assert.equal(queues[0]!.pop(), undefined);
          queues[0]!.push(old.kept[0]!);
          queues[0]!.flush();
          configChanged();
        }
        throw new Error('not today');
      };
      bench.drivers[0]!.send([request], [1]);
      bench.drivers[0]!.publish();
      assert.throws(() => bench.runner.replace(next), /^Error: not today$/);
      bench.advance(100);
      assert.deepEqual([bench.clock.open, bench.configInterrupts, bench.interrupts[0]], [0, 0, 0]);
      assert.equal(next.calls.at(-1), 'close');
      old.keep = false;
      bench.runner.kick(0);
      assert.equal(bench.drivers[0]!.receive()?.bytes[0], 1);
      const queue = old.host!.queues[0]!;
      old.answer(queue, old.kept[0]!);
      queue.flush();
      assert.equal(bench.drivers[0]!.receive()?.bytes[0], 1);
      assert.deepEqual([bench.warnings, bench.broken, old.calls], [[], [], ['activate']]);
    });
  }

  test('from inside of a call into the device it is a mistake', () => {
    const old = new Marked(1);
    const bench = new DeviceBench(old);
    old.queueNotified = () => bench.runner.replace(new Marked(2));
    bench.kick(0);
    assert.match(bench.warnings[0]!, /can not be replaced from inside/);
  });

  test('a feature that is new, and a device that failed before, are said: the driver starts anew for them', () => {
    const broken = new Marked(1);
    broken.queueNotified = () => {
      throw new Error('boom');
    };
    const bench = new DeviceBench(broken);
    bench.drivers[0]!.send([new Uint8Array(1)], [1]);
    bench.kick(0);
    assert.deepEqual(bench.warnings.splice(0), [
      'marked: the device failed, and needs a reset by its driver: boom',
    ]);
    bench.replace(Object.assign(new Marked(2), { features: 0b1011n }));
    assert.deepEqual(bench.warnings.splice(0), [
      'marked: feature 3 is new: the driver sees it when it starts anew',
      'marked: the device failed before, and still needs a reset by its driver',
    ]);
    bench.reset();
    bench.start();
    bench.replace(Object.assign(new Marked(3), { features: 0b1011n }));
    assert.deepEqual(bench.warnings, []);
  });

  test('an old device that fails later is reported, and the new one needs no reset', () => {
    const old = new Marked(1);
    const bench = new DeviceBench(old);
    old.queueNotified = (queue) => {
      queue.pop();
      old
        .host!.clock.alarm(() => {
          throw new Error('too late');
        })
        .set(10);
    };
    ask(bench);
    bench.runner.replace(new Marked(2));
    bench.advance(10);
    assert.deepEqual([bench.warnings, bench.broken], [['marked: the device failed: too late'], []]);
    assert.equal(ask(bench), 2);
  });
});

test('defineDevice: an async request in flight is finished by the old code, the next one by the new, with its state', async () => {
  const Number32 = struct({ n: le32 });
  const waiting: (() => void)[] = [];
  const counting = (step: number): (() => VirtioDevice) =>
    defineDevice(() => {
      let count = 0;
      return {
        id: 63,
        name: 'counting',
        queues: [
          structQueue({
            name: 'q',
            request: Number32,
            response: Number32,
            async handle({ n }) {
              if (n === 1) await new Promise<void>((resolve) => waiting.push(resolve));
              count += step;
              return { n: count };
            },
          }),
        ],
        save: () => ({ count }),
        restore: (state) => ({ count } = state as { count: number }),
      };
    });
  const bench = new DeviceBench(counting(1)());
  const ask = async (n: number): Promise<number | undefined> => {
    bench.ask(0, Number32.encode({ n }), 4);
    await new Promise(setImmediate);
    const answer = bench.drivers[0]!.receive()?.bytes;
    return answer && Number32.decode(answer).n;
  };
  assert.deepEqual([await ask(0), await ask(0), await ask(1)], [1, 2, undefined]);
  bench.runner.replace(counting(10)());
  assert.equal(await ask(0), 12);
  waiting[0]!();
  await new Promise(setImmediate);
  assert.equal(Number32.decode(bench.drivers[0]!.receive()!.bytes).n, 3);
});
