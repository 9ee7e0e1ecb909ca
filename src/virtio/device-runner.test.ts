import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Chain } from '../virtqueue/chain.js';
import { VIRTQ_DESC_F_NEXT } from '../virtqueue/split/layout.js';
import { RingWriter } from '../virtqueue/testing/ring-writer.js';
import { ConfigSpace } from './config-space.js';
import type { DeviceHost, DeviceQueue, VirtioDevice } from './device.js';
import { DeviceRunner } from './device-runner.js';
import { FeatureError } from './feature-error.js';
import { VIRTIO_F_VERSION_1 } from './features.js';
import type { Print } from './monitor.js';
import { DeviceBench } from './testing/device-bench.js';
import { FakeClock } from './testing/fake-clock.js';

/** Copies what it reads into its answer; keeps what `kept` says. */
class CopyDevice implements VirtioDevice {
  readonly id = 63;
  readonly name = 'copy';
  readonly features = 0b101n;
  readonly queues = [
    { name: 'first', size: 8 },
    { name: 'second', size: 8 },
  ];
  readonly config = new ConfigSpace(8, [[4, 8]]);
  host: DeviceHost | undefined;
  kept: Chain[] = [];
  keep = false;
  resets = 0;
  configWrites: [number, number][] = [];

  activate(host: DeviceHost): void {
    this.host = host;
  }

  queueNotified(queue: DeviceQueue): void {
    for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
      if (this.keep) this.kept.push(chain);
      else {
        chain.write(chain.readRest());
        queue.push(chain);
      }
    }
  }

  configWritten(offset: number, length: number): void {
    this.configWrites.push([offset, length]);
  }

  reset(): void {
    this.resets += 1;
  }
}

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

describe('2.2 feature bits', () => {
  test('2.2.1: a bit that was not offered is refused by number, and nothing is accepted', () => {
    const bench = new DeviceBench(new CopyDevice(), { features: 0b1n });
    assert.throws(
      () => bench.runner.accept(VIRTIO_F_VERSION_1 | 0b10n),
      (error) => error instanceof FeatureError && /not offered: 1 /.test(error.message),
    );
    assert.equal(bench.runner.features & 0b111n, 0b1n);
  });

  test('2.2: the device is told its own bits only', () => {
    const device = new CopyDevice();
    new DeviceBench(device, { features: 0b100n });
    assert.equal(device.host?.features, 0b100n);
  });
});

describe('2.5 configuration space', () => {
  test('2.5.1: a driver writes what is writable, and the device hears of it', () => {
    const device = new CopyDevice();
    const bench = new DeviceBench(device);
    bench.runner.writeConfig(2, bytes(1, 2, 3, 4));
    assert.deepEqual([...bench.runner.readConfig(0, 10)], [0, 0, 0, 0, 3, 4, 0, 0, 0, 0]);
    bench.runner.writeConfig(0, bytes(9, 9));
    assert.deepEqual(device.configWrites, [[2, 4]]);
  });

  test('2.5: a change moves the generation and interrupts the driver', () => {
    const device = new CopyDevice();
    const bench = new DeviceBench(device);
    const before = device.config.generation;
    device.host!.configChanged();
    assert.notEqual(device.config.generation, before);
    assert.equal(bench.configInterrupts, 1);
  });

  test('a change while the guest stands still is told when it goes on', () => {
    const device = new CopyDevice();
    const bench = new DeviceBench(device);
    bench.runner.pause();
    device.host!.configChanged();
    assert.equal(bench.configInterrupts, 0);
    bench.runner.activate();
    assert.equal(bench.configInterrupts, 1);
  });
});

describe('2.6 virtqueues', () => {
  test('2.6: a request is answered on its own queue', () => {
    const bench = new DeviceBench(new CopyDevice());
    assert.deepEqual([...bench.ask(1, bytes(1, 2, 3), 3)!], [1, 2, 3]);
    assert.deepEqual(bench.interrupts, [0, 1]);
  });

  test('2.7.8.2: one turn is published at once, with one interrupt', () => {
    const bench = new DeviceBench(new CopyDevice());
    for (let i = 0; i < 5; i++) bench.drivers[0]!.send([bytes(i)], [1]);
    bench.kick(0);
    assert.deepEqual(bench.interrupts, [1, 0]);
    assert.deepEqual(
      [0, 1, 2, 3, 4].map(() => bench.drivers[0]!.receive()!.bytes[0]),
      [0, 1, 2, 3, 4],
    );
  });

  test('2.7.10: buffers that came after the device found none, and before it asked for kicks, are served', () => {
    let bench: DeviceBench | undefined;
    let kickWanted: boolean | undefined;
    class Device extends CopyDevice {
      override queueNotified(queue: DeviceQueue): void {
        super.queueNotified(queue);
        if (kickWanted !== undefined) return;
        bench!.drivers[0]!.send([bytes(1, 2)], [2]);
        kickWanted = bench!.drivers[0]!.publish();
      }
    }
    bench = new DeviceBench(new Device());
    bench.runner.kick(0);
    bench.settle();
    assert.equal(kickWanted, false);
    assert.deepEqual(bench.drivers[0]!.receive()?.bytes, bytes(1, 2));
  });

  test('a device that leaves buffers in its queue is not asked again and again', () => {
    let calls = 0;
    class Device extends CopyDevice {
      override queueNotified(): void {
        calls += 1;
      }
    }
    const bench = new DeviceBench(new Device());
    bench.drivers[0]!.send([bytes(1)], []);
    bench.kick(0);
    assert.equal(calls, 1);
  });

  test('a driver that never stops gets no more than 1024 requests in one turn', () => {
    const device = new CopyDevice();
    const bench = new DeviceBench(device);
    let popped = 0;
    device.queueNotified = (queue) => {
      for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
        popped += 1;
        chain.write(bytes(1));
        queue.push(chain);
        queue.flush();
        bench.drivers[0]!.receive();
        if (popped < 3000) {
          bench.drivers[0]!.send([bytes(1)], [1]);
          bench.drivers[0]!.publish();
        }
      }
    };
    bench.drivers[0]!.send([bytes(1)], [1]);
    bench.drivers[0]!.publish();
    bench.runner.kick(0);
    assert.equal(popped, 1024);
    bench.settle();
    assert.equal(popped, 3000);
  });

  test('a chain that was kept can be pushed later, with a flush', () => {
    const device = new CopyDevice();
    const bench = new DeviceBench(device);
    device.keep = true;
    assert.equal(bench.ask(0, bytes(7), 1), undefined);
    const queue = device.host!.queues[0]!;
    device.kept[0]!.write(bytes(8));
    queue.push(device.kept[0]!);
    queue.flush();
    assert.deepEqual([...bench.drivers[0]!.receive()!.bytes], [8]);
    assert.deepEqual(bench.interrupts, [1, 0]);
  });

  test('2.4: a chain from before a reset is let go without harm', () => {
    const device = new CopyDevice();
    const bench = new DeviceBench(device);
    device.keep = true;
    bench.ask(0, bytes(7), 1);
    const queue = device.host!.queues[0]!;
    bench.runner.reset();
    queue.push(device.kept[0]!);
    queue.flush();
    assert.equal(device.resets, 1);
    assert.equal(bench.drivers[0]!.receive(), undefined);
    assert.deepEqual(bench.warnings, []);
  });

  test('draining waits for the chains that the device holds', () => {
    const device = new CopyDevice();
    const bench = new DeviceBench(device);
    let drained = 0;
    device.keep = true;
    bench.ask(0, bytes(7), 1);
    bench.runner.whenDrained(0, () => {
      drained += 1;
    });
    bench.runner.whenDrained(1, () => {
      drained += 10;
    });
    assert.equal(drained, 10);
    device.host!.queues[0]!.push(device.kept[0]!);
    assert.equal(drained, 11);
    assert.ok(bench.drivers[0]!.receive());
  });
});

describe('2.1.2 what a broken rule does', () => {
  const loop = (bench: DeviceBench, queue: number): void => {
    const ring = new RingWriter(bench.drivers[queue]!.device);
    ring.descriptor(0, {
      address: bench.drivers[queue]!.device.memory.regions[0]!.start,
      length: 1,
      flags: VIRTQ_DESC_F_NEXT,
      next: 0,
    });
    ring.offer(0);
    bench.runner.kick(queue);
  };

  test('a malformed chain breaks its queue with one log line, and no other', () => {
    const bench = new DeviceBench(new CopyDevice());
    loop(bench, 0);
    bench.runner.kick(0);
    assert.deepEqual(bench.broken, [0]);
    assert.equal(bench.warnings.length, 1);
    assert.match(
      bench.warnings[0]!,
      /^copy: queue 0 \(first\) is broken until reset: .*loops.*VIRTIO §2\.7\.5\.2/,
    );
    assert.deepEqual([...bench.ask(1, bytes(5), 1)!], [5]);
  });

  test('2.4: a reset and a new ring heal it', () => {
    const bench = new DeviceBench(new CopyDevice());
    loop(bench, 0);
    const again = new DeviceBench(bench.runner.device);
    assert.deepEqual([...again.ask(0, bytes(5), 1)!], [5]);
  });

  test('memory that goes away while the device reads breaks the queue of that chain', () => {
    const device = new CopyDevice();
    const bench = new DeviceBench(device);
    const { memory } = bench.drivers[0]!;
    const queueNotified = device.queueNotified.bind(device);
    device.queueNotified = (queue) => {
      device.keep = true;
      queueNotified(queue);
      memory.clear();
      device.kept[0]!.readRest();
    };
    bench.drivers[0]!.send([bytes(1)], [1]);
    bench.kick(0);
    assert.deepEqual(bench.broken, [0]);
    assert.match(bench.warnings[0]!, /is not guest memory/);
  });

  test('a device that throws needs a reset; the process and the queue live', () => {
    const device = new CopyDevice();
    const bench = new DeviceBench(device);
    device.queueNotified = () => {
      throw new Error('out of ideas\n');
    };
    bench.drivers[0]!.send([bytes(1)], [1]);
    bench.kick(0);
    assert.deepEqual(bench.broken, [undefined]);
    assert.deepEqual(bench.warnings, [
      'copy: the device failed, and needs a reset by its driver: out of ideas\\x0a',
    ]);
  });

  test("a chain that is pushed twice is the device's mistake", () => {
    const device = new CopyDevice();
    const bench = new DeviceBench(device);
    device.queueNotified = (queue) => {
      const chain = queue.pop()!;
      queue.push(chain);
      queue.push(chain);
    };
    bench.drivers[0]!.send([bytes(1)], [1]);
    bench.kick(0);
    assert.deepEqual(bench.broken, [undefined]);
    assert.match(bench.warnings[0]!, /not in flight/);
  });
});

describe('the lines that a device prints', () => {
  /** A device that runs, with no ring, and where its lines go. */
  const printing = (print: Print | undefined): DeviceHost => {
    const device = new CopyDevice();
    const runner = new DeviceRunner(device, {
      clock: new FakeClock(),
      interrupt() {},
      configInterrupt() {},
      broken() {},
      defer: (callback) => callback(),
      print,
      warn() {},
    });
    runner.activate();
    return device.host!;
  };
  const unread = (): string => assert.fail('a line was made that nobody reads');

  test('a line is made when somebody reads it, in order with the ready-made', () => {
    const lines: string[] = [];
    const { print } = printing((line) => void lines.push(line));
    print('one');
    print(() => 'tw\x1bo');
    print('three');
    print((name: string, value: number) => `${name} ${value}`, 'four', 4);
    assert.deepEqual(lines, ['one', 'tw\\x1bo', 'three', 'four 4']);
  });

  test('no line is made when nobody reads them', () => {
    const { print } = printing(undefined);
    print('one');
    print(unread);
  });

  test('no line is made while there is no room for it; each such line is asked for once', () => {
    const lines: string[] = [];
    let room = 2;
    let asked = 0;
    const { print } = printing(
      Object.assign((line: string) => void lines.push(line), {
        full() {
          asked += 1;
          return room-- <= 0;
        },
      }),
    );
    print('one');
    print(() => 'two');
    print('three');
    print(unread);
    assert.deepEqual([lines, asked], [['one', 'two'], 4]);
  });
});

test('a turn of a kick is over when it returns: the next kick, seconds later, has one of its own', () => {
  // Large enough that the time is looked at when a turn begins.
  const device = Object.assign(new CopyDevice(), { queues: [{ name: 'first', size: 256 }] });
  const bench = new DeviceBench(device);
  for (let i = 0; i < 3; i++) {
    bench.drivers[0]!.send([Uint8Array.of(i)], [1]);
    bench.drivers[0]!.publish();
    bench.runner.kick(0);
    assert.deepEqual(bench.drivers[0]!.receive()?.bytes, Uint8Array.of(i));
    bench.clock.advance(1e9);
  }
});
