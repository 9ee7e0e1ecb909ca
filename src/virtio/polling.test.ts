import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Chain } from '../virtqueue/chain.js';
import { SplitDeviceQueue } from '../virtqueue/split/device.js';
import { PoliteDriver } from '../virtqueue/testing/polite-driver.js';
import { ConfigSpace } from './config-space.js';
import type { DeviceQueue, VirtioDevice } from './device.js';
import { DeviceRunner } from './device-runner.js';
import { VIRTIO_F_EVENT_IDX } from './features.js';
import { Poller } from './poller.js';
import { FakeClock } from './testing/fake-clock.js';

/** Answers each request with its own bytes; how, a test may change. */
class EchoDevice implements VirtioDevice {
  readonly id = 63;
  readonly name = 'echo';
  readonly features = 0n;
  readonly queues = [{ name: 'q', size: 8 }];
  readonly config = new ConfigSpace(0);
  notified = 0;
  answer = (chain: Chain, queue: DeviceQueue): void => {
    chain.write(chain.readRest());
    queue.push(chain);
  };

  queueNotified(queue: DeviceQueue): void {
    this.notified += 1;
    for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) this.answer(chain, queue);
  }
}

class Bench {
  readonly device = new EchoDevice();
  readonly driver: PoliteDriver;
  readonly runner: DeviceRunner;
  readonly deferred: (() => void)[] = [];
  readonly warnings: string[] = [];
  time = 0;
  interrupts = 0;
  onInterrupt: () => void = () => {};
  /** Before each access to guest memory. */
  before: () => void = () => {};

  /** @param window - ns that the queue is polled for; not at all unless told. */
  constructor({ eventIdx = true, window }: { eventIdx?: boolean; window?: number } = {}) {
    const poller = new Poller({
      now: () => (this.time += 100),
      soon: (call) => void this.deferred.push(call),
    });
    this.driver = new PoliteDriver({ size: 8, eventIdx, hooks: { before: () => this.before() } });
    this.runner = new DeviceRunner(this.device, {
      clock: new FakeClock(),
      interrupt: () => {
        this.interrupts += 1;
        this.onInterrupt();
      },
      configInterrupt() {},
      broken() {},
      defer: (call) => void this.deferred.push(call),
      print: undefined,
      warn: (line) => void this.warnings.push(line),
      ...(window !== undefined && { poll: (polled) => poller.spin(polled, window) }),
    });
    this.runner.accept(eventIdx ? VIRTIO_F_EVENT_IDX : 0n);
    this.runner.startQueue(0, new SplitDeviceQueue(this.driver.device));
    this.runner.activate();
  }

  send(byte: number): void {
    assert.ok(this.driver.send([Uint8Array.of(byte)], [1]), 'the ring is full');
  }

  /** Sends a request and shows it, with a kick if the device wants one. @returns whether it did. */
  request(byte: number): boolean {
    this.send(byte);
    const kick = this.driver.publish();
    if (kick) this.runner.kick(0);
    return kick;
  }

  /** All answers that are there. */
  answers(): number[] {
    const bytes: number[] = [];
    for (let next = this.driver.receive(); next !== undefined; next = this.driver.receive())
      bytes.push(next.bytes[0]!);
    return bytes;
  }

  /** Turns the event loop until nothing waits. */
  async settle(): Promise<void> {
    for (let turns = 0; this.deferred.length > 0; turns++) {
      assert.ok(turns < 1000, 'it goes on and on');
      await this.turn();
    }
  }

  async turn(): Promise<void> {
    for (const callback of this.deferred.splice(0)) callback();
    await new Promise(setImmediate);
  }
}

describe('a driver that answers each interrupt with a request', () => {
  test('is served in the same turn', () => {
    const bench = new Bench();
    const answers: number[] = [];
    let sent = 0;
    bench.onInterrupt = () => {
      answers.push(...bench.answers());
      bench.driver.queue.enableInterrupts();
      if (++sent < 5) bench.send(sent);
      bench.driver.publish();
    };
    bench.request(0);
    assert.deepEqual(answers, [0, 1, 2, 3, 4]);
    assert.deepEqual(bench.deferred, []);
  });

  test('is served 128 times in one turn, and on after others had theirs', async () => {
    const bench = new Bench();
    const answers: number[] = [];
    let sent = 0;
    bench.onInterrupt = () => {
      answers.push(...bench.answers());
      bench.driver.queue.enableInterrupts();
      if (++sent < 300) bench.send(sent);
      bench.driver.publish();
    };
    bench.request(0);
    assert.equal(answers.length, 128);
    assert.equal(bench.deferred.length, 1);
    await bench.settle();
    assert.deepEqual(
      answers,
      Array.from({ length: 300 }, (_, i) => i % 256),
    );
  });

  test('waits its turn when the device owes it an answer: that comes from the event loop', async () => {
    const bench = new Bench();
    const { answer } = bench.device;
    const held: Chain[] = [];
    bench.device.answer = (chain, queue) => {
      if (held.length === 0) held.push(chain);
      else answer(chain, queue);
    };
    bench.onInterrupt = () => {
      bench.onInterrupt = () => {};
      bench.send(3);
      bench.driver.publish();
    };
    bench.send(1);
    bench.request(2);
    assert.deepEqual(bench.answers(), [2]);
    assert.equal(bench.deferred.length, 1);
    await bench.settle();
    assert.deepEqual(bench.answers(), [3]);
  });
});

describe('polling', () => {
  test('after a kick no other is wanted while requests come in time, and then one is', async () => {
    for (const eventIdx of [true, false]) {
      const bench = new Bench({ eventIdx, window: 1_000_000 });
      assert.equal(bench.request(1), true);
      await bench.turn();
      for (let i = 2; i < 100; i++) {
        assert.deepEqual(bench.answers(), [i - 1]);
        assert.equal(bench.request(i), false);
        await bench.turn();
      }
      await bench.settle();
      assert.deepEqual(bench.answers(), [99]);
      assert.equal(bench.request(100), true);
      await bench.settle();
      assert.deepEqual(bench.answers(), [100]);
    }
  });

  test('2.7.10: whatever the moment, a request is looked at or kicked for', async () => {
    for (const eventIdx of [true, false]) {
      for (let moment = 1; ; moment++) {
        const bench = new Bench({ eventIdx, window: 2_000 });
        bench.request(1);
        let left = moment;
        let sent = false;
        bench.before = () => {
          left -= 1;
          if (left !== 0) return;
          bench.before = () => {};
          sent = true;
          bench.send(2);
          // A kick is an event: it is not heard before the device's turn is over.
          if (bench.driver.publish()) bench.deferred.push(() => bench.runner.kick(0));
        };
        await bench.settle();
        if (!sent) {
          assert.ok(moment > 10, `${moment} accesses`);
          break;
        }
        assert.deepEqual(bench.answers(), [1, 2], `lost before access ${moment}`);
      }
    }
  });

  test('a device that leaves buffers where they are is told of new ones once, by kicks', async () => {
    const bench = new Bench({ eventIdx: false, window: 1_000_000 });
    let wanted = 1;
    bench.device.queueNotified = (queue) => {
      bench.device.notified += 1;
      for (; wanted > 0; wanted--) {
        const chain = queue.pop();
        if (chain !== undefined) bench.device.answer(chain, queue);
      }
    };
    bench.send(1);
    bench.send(2);
    assert.equal(bench.driver.publish(), true);
    bench.runner.kick(0);
    await bench.settle();
    assert.equal(bench.device.notified, 1);
    assert.equal(bench.request(3), true);
    await bench.settle();
    assert.equal(bench.device.notified, 2);
    assert.deepEqual(bench.answers(), [1]);
  });

  test('an answer that takes several promises is there before the event loop has its turn', async () => {
    const bench = new Bench({ window: 1_000_000 });
    const { answer } = bench.device;
    bench.device.answer = async (chain, queue) => {
      for (let i = 0; i < 10; i++) await undefined;
      answer(chain, queue);
      queue.flush();
    };
    bench.request(1);
    await bench.turn();
    assert.deepEqual(bench.answers(), [1]);
    bench.request(2);
    const [slice] = bench.deferred.splice(0);
    slice!();
    // Less than a turn of the event loop.
    for (let i = 0; i < 50; i++) await undefined;
    assert.deepEqual(bench.answers(), [2]);
    await bench.settle();
  });

  test('a device that begins to leave buffers where they are is looked for no more', async () => {
    const bench = new Bench({ eventIdx: false, window: 1_000_000 });
    bench.request(1);
    await bench.turn();
    const { queueNotified } = bench.device;
    bench.device.queueNotified = (queue) => {
      bench.device.notified += 1;
      bench.device.answer(queue.pop()!, queue);
    };
    bench.send(2);
    bench.send(3);
    assert.equal(bench.driver.publish(), false);
    await bench.turn();
    assert.deepEqual([bench.device.notified, bench.deferred.length], [2, 0]);
    bench.device.queueNotified = queueNotified;
    assert.equal(bench.request(4), true);
    assert.deepEqual(bench.answers(), [1, 2, 3, 4]);
    await bench.settle();
  });

  test('a ring that breaks while it is polled is let go, and a new one is polled again', async () => {
    const bench = new Bench({ window: 1_000_000 });
    bench.request(1);
    await bench.turn();
    const { memory, driverArea } = bench.driver.device;
    memory.view(driverArea, 4).store16(2, 1000);
    await bench.settle();
    assert.equal(bench.runner.isBroken(0), true);
    assert.equal(bench.warnings.length, 1);
    bench.runner.reset();
    const again = new PoliteDriver({ size: 8, eventIdx: true });
    bench.runner.accept(VIRTIO_F_EVENT_IDX);
    bench.runner.startQueue(0, new SplitDeviceQueue(again.device));
    bench.runner.activate();
    again.send([Uint8Array.of(7)], [1]);
    assert.equal(again.publish(), true);
    bench.runner.kick(0);
    again.send([Uint8Array.of(8)], [1]);
    assert.equal(again.publish(), false);
    await bench.settle();
    assert.deepEqual([again.receive()?.bytes[0], again.receive()?.bytes[0]], [7, 8]);
  });

  test('nothing is looked at while the guest stands still, nor after the end', async () => {
    const bench = new Bench({ window: 1_000_000 });
    bench.request(1);
    await bench.turn();
    const { notified } = bench.device;
    bench.runner.pause();
    bench.send(2);
    bench.driver.publish();
    await bench.turn();
    assert.equal(bench.device.notified, notified);
    bench.runner.activate();
    bench.runner.kick(0);
    assert.deepEqual(bench.answers(), [1, 2]);
    bench.runner.close();
    await bench.settle();
  });
});
