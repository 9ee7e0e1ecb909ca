import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GuestAddress } from '../../memory/address.js';
import { CarriedQueue } from '../carried/carried-queue.js';
import type { DeviceQueueOptions } from '../device-queue-options.js';
import { PoliteDriver } from '../testing/polite-driver.js';
import type { VirtqueueError } from '../virtqueue-error.js';
import { PackedCarriedRing } from './carried.js';
import { VIRTQ_DESC_F_AVAIL, VIRTQ_DESC_F_NEXT, VIRTQ_DESC_F_USED, VIRTQ_DESC_F_WRITE } from './layout.js';

/** A carried queue whose memory answers at once, but from the outside. */
class Bench {
  readonly driver: PoliteDriver;
  readonly queue: CarriedQueue;
  /** What was written: what it is, and bytes. */
  readonly writes: string[] = [];
  readonly broken: VirtqueueError[] = [];
  interrupts = 0;
  /** For a test that counts them. */
  reads = 0;
  /** Called before each read. */
  onRead: (address: number, length: number) => void = () => {};

  constructor(change: Partial<DeviceQueueOptions> = {}) {
    const { size = 4, eventIdx = false } = change;
    this.driver = new PoliteDriver({ size, packed: true, eventIdx, bytes: 1 << 16 });
    const { memory } = this.driver;
    const asked: (() => void)[] = [];
    const ring = { ...this.driver.device, ...change };
    const distant = {
      read: (address: GuestAddress, into: Uint8Array, done: (there: boolean) => void) =>
        void asked.push(() => {
          this.onRead(address, into.length);
          memory.read(address, into);
          done(true);
        }),
      write: (address: GuestAddress, from: Uint8Array, done: (there: boolean) => void) =>
        void asked.push(() => {
          this.writes.push(`${this.#name(address)} + ${from.length}`);
          memory.write(address, from);
          done(true);
        }),
    };
    const events = {
      arrived: () => {},
      interrupt: () => {
        this.interrupts += 1;
      },
      broken: (error: VirtqueueError) => void this.broken.push(error),
    };
    this.queue = new CarriedQueue(
      ring,
      distant,
      events,
      (ports) => new PackedCarriedRing(ring, distant, ports),
    );
    this.settle = () => {
      while (asked.length > 0) asked.shift()!();
    };
  }

  /** Lets all that was asked for come. */
  readonly settle: () => void;

  kick(): void {
    this.queue.kick();
    this.settle();
  }

  #name(address: number): string {
    const { descriptorArea, deviceArea, size } = this.driver.device;
    if (address >= descriptorArea && address < descriptorArea + 16 * size)
      return `ring ${address - descriptorArea}`;
    return address >= deviceArea && address < deviceArea + 4 ? 'event' : 'buffer';
  }

  /** Writes a descriptor as a driver without manners would. */
  put(index: number, address: number, length: number, id: number, flags: number): void {
    const bytes = new DataView(new ArrayBuffer(16));
    bytes.setUint32(0, address % 2 ** 32, true);
    bytes.setUint32(4, Math.floor(address / 2 ** 32), true);
    bytes.setUint32(8, length, true);
    bytes.setUint16(12, id, true);
    bytes.setUint16(14, flags, true);
    const { memory, descriptorArea } = this.driver.device;
    memory.write((descriptorArea + 16 * index) as GuestAddress, new Uint8Array(bytes.buffer));
  }
}

const AVAIL = VIRTQ_DESC_F_AVAIL;

test('2.8.6, 2.8.22: what was written is there before its used descriptor, and all else before the flags of the first', () => {
  const bench = new Bench();
  const { driver, queue } = bench;
  driver.send([Uint8Array.of(1)], [3]);
  driver.send([], [2]);
  driver.publish();
  bench.kick();
  const chains = [queue.pop()!, queue.pop()!];
  bench.writes.length = 0;
  chains[0]!.write(Uint8Array.of(4, 5, 6));
  chains[1]!.write(Uint8Array.of(7));
  for (const chain of chains) queue.push(chain);
  queue.publish();
  bench.settle();
  // The second has one descriptor, behind the first one's two.
  assert.deepEqual(bench.writes, ['buffer + 3', 'buffer + 1', 'ring 8 + 6', 'ring 40 + 8', 'ring 14 + 2']);
  assert.equal(bench.interrupts, 1);
  assert.deepEqual(driver.receive()?.bytes, Uint8Array.of(4, 5, 6));
  assert.deepEqual(driver.receive()?.bytes, Uint8Array.of(7));
});

test('2.8.10: a driver is told that it should kick when there is nothing more, and for which descriptor with EVENT_IDX', () => {
  for (const eventIdx of [false, true]) {
    const bench = new Bench({ eventIdx });
    const { memory, deviceArea } = bench.driver.device;
    const event = new Uint8Array(4);
    // As a device left it that looked at the ring by itself.
    memory.write(deviceArea, Uint8Array.of(0, 0, 1, 0));
    bench.kick();
    memory.read(deviceArea, event);
    assert.deepEqual([...event], eventIdx ? [0, 0x80, 2, 0] : [0, 0, 0, 0]);
    bench.driver.send([Uint8Array.of(1)]);
    bench.driver.publish();
    bench.kick();
    memory.read(deviceArea, event);
    assert.deepEqual([...event], eventIdx ? [1, 0x80, 2, 0] : [0, 0, 0, 0]);
    assert.deepEqual(
      bench.writes,
      eventIdx ? ['event + 4', 'event + 4'] : ['event + 4'],
      'once for each place, and no more',
    );
  }
});

test('2.8.21.1: a list is read after the flags of its first descriptor were seen, and none that came after', () => {
  const bench = new Bench();
  const { driver } = bench;
  driver.send([Uint8Array.of(1)]);
  driver.publish();
  let reads = 0;
  bench.onRead = (address, length) => {
    reads += 1;
    // While the ring itself is read another comes, and is left for the next look.
    if (reads === 2) {
      assert.deepEqual([address, length], [driver.device.descriptorArea, 64]);
      driver.send([Uint8Array.of(2)]);
      driver.publish();
    }
    if (reads === 3) assert.equal(length, 1, 'the first one’s buffer alone');
  };
  bench.kick();
  assert.equal(bench.queue.pop()?.readable, 1);
  bench.kick();
  assert.deepEqual(bench.queue.pop()?.readRest(), Uint8Array.of(2));
});

for (const [name, section, code, put] of [
  [
    'a list without an end',
    '2.8.17',
    'CHAIN_LENGTH',
    (bench: Bench, at: number) => {
      for (let i = 0; i < 4; i++) bench.put(i, at, 1, i, AVAIL | VIRTQ_DESC_F_NEXT);
    },
  ],
  [
    'a list whose second descriptor is not available',
    '2.8.17',
    'CHAIN_NOT_AVAILABLE',
    (bench: Bench, at: number) => {
      bench.put(0, at, 1, 0, AVAIL | VIRTQ_DESC_F_NEXT);
      bench.put(1, at, 1, 0, AVAIL | VIRTQ_DESC_F_USED);
    },
  ],
  [
    'a buffer id that is no number of a descriptor',
    '2.8.21.1',
    'BUFFER_ID',
    (bench: Bench, at: number) => bench.put(0, at, 1, 4, AVAIL),
  ],
  [
    'a buffer id that is in flight',
    '2.8.21.1',
    'BUFFER_IN_FLIGHT',
    (bench: Bench, at: number) => {
      bench.put(0, at, 1, 0, AVAIL);
      bench.put(1, at, 1, 0, AVAIL);
    },
  ],
  [
    'a buffer that is not there',
    '2.8.4',
    'BUFFER_UNMAPPED',
    (bench: Bench) => bench.put(0, 2 ** 40, 1, 0, AVAIL),
  ],
  [
    'readable bytes behind writable ones',
    '2.8.17',
    'READABLE_AFTER_WRITABLE',
    (bench: Bench, at: number) => {
      bench.put(0, at, 1, 0, AVAIL | VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_WRITE);
      bench.put(1, at, 1, 0, AVAIL);
    },
  ],
  [
    'a list that is taken back while it is read',
    '2.8.21',
    'CHAIN_NOT_AVAILABLE',
    (bench: Bench, at: number) => {
      bench.put(0, at, 1, 0, AVAIL);
      bench.onRead = (_, length) => {
        if (length === 64 && bench.reads++ > 0) bench.put(0, at, 1, 0, 0);
      };
    },
  ],
  [
    'an indirect list that was not negotiated',
    '2.8.19',
    'INDIRECT_NOT_NEGOTIATED',
    (bench: Bench, at: number) => bench.put(0, at, 16, 0, AVAIL | 4),
  ],
] as const satisfies readonly (readonly [string, string, string, (bench: Bench, at: number) => void])[]) {
  test(`${section}: ${name} breaks the queue, as in memory that is shared`, () => {
    const bench = new Bench();
    put(bench, bench.driver.allocator.alloc(64, 16).address);
    bench.kick();
    assert.deepEqual(
      bench.broken.map((error) => [error.code, error.section]),
      [[code, section]],
    );
    assert.throws(() => bench.queue.pop(), { code });
  });
}

test('2.8, 2.8.1, 2.8.10.1: sizes, bases and areas that can not be', () => {
  for (const [change, code] of [
    [{ size: 0 }, 'QUEUE_SIZE'],
    [{ size: 32_769 }, 'QUEUE_SIZE'],
    [{ base: 4 }, 'QUEUE_BASE'],
    [{ base: 0x8000_0003 }, 'QUEUE_BASE'],
    [{ descriptorArea: 1 as GuestAddress }, 'AREA_UNMAPPED'],
    [{ driverArea: 0x1_2345_0002 as GuestAddress }, 'AREA_ALIGNMENT'],
  ] as const) {
    const { driver } = new Bench();
    const options = { ...driver.device, ...change };
    const never = { read: () => {}, write: () => {} };
    assert.throws(() => new PackedCarriedRing(options, never, { over: false, fail: () => {} }), { code });
  }
});
