import type { GuestAddress } from '../../memory/address.js';
import { GuestAllocator } from '../../memory/guest-allocator.js';
import { PackedDeviceQueue } from '../packed/device.js';
import { PackedDriverQueue } from '../packed/driver.js';
import type { Virtqueue } from '../virtqueue.js';
import { allowed, contested, forget, type Life } from './contested-memory.js';
import { deviceLife, driverLife } from './lives.js';
import { PackedRingWriter } from './packed-ring-writer.js';

const BYTES = 4096;
/** Where what is in flight is on record. */
const INFLIGHT = 3072;
const SIZE = 7;
/** Reads that one pop may take: the flags, and the ring and a table of at most 1024 descriptors, four reads each; and what is kept on record. */
const MOST_READS = 1 + 4 * (SIZE + 1024) + 16 * SIZE;

/**
 * One life of a device's queue under a hostile driver, which writes anything anywhere, also between two accesses of one call. Nothing but `VirtqueueError` and
 * `MemoryError` may come of it, and no call may take more than a bounded number of accesses.
 */
export function packedDeviceLife(seed: number, steps: number, plausible: boolean): Life {
  const where = contested(seed, BYTES, plausible ? 60 : 3);
  const { roll, plain, view, memory, quiet } = where;
  const codes = new Set<string>();
  for (let at = 0; at < BYTES; at += 2) plain.write16(at, plausible ? 0 : roll(65536));
  const place = {
    size: SIZE,
    descriptorArea: 0 as GuestAddress,
    driverArea: 256 as GuestAddress,
    deviceArea: 512 as GuestAddress,
  };
  const ring = new PackedRingWriter({ ...place, memory: quiet });
  const negotiated = { eventIdx: roll(2) === 0, indirect: roll(4) > 0, inOrder: roll(2) === 0 };
  const inflight =
    roll(3) === 0
      ? { view: view.slice(INFLIGHT, BYTES - INFLIGHT), entries: SIZE + roll(3), ours: roll(2) === 0 }
      : undefined;
  /** A driver has it start when it is broken, with what an earlier device left on record or nothing. */
  const start = (): PackedDeviceQueue | undefined => {
    const offset = roll(SIZE) | (roll(2) << 15);
    const base = (offset | (offset << 16)) >>> 0;
    for (let i = 0; i < SIZE; i++) ring.descriptor(i, {});
    if (roll(2) === 0) forget(plain, INFLIGHT);
    return allowed(codes, () => new PackedDeviceQueue({ ...place, ...negotiated, memory, base, inflight }));
  };

  const anyDescriptor = () => ({
    address: roll(12) === 0 ? roll(2 ** 31) * 2 ** 22 : roll(2) === 0 ? roll(BYTES) : 1024 + 16 * roll(8),
    length: roll(12) === 0 ? roll(2 ** 31) * 2 : 16 * roll(5) + (roll(3) === 0 ? roll(16) : 0),
    id: roll(12) === 0 ? roll(65536) : roll(SIZE),
    flags: roll(3) === 0 ? 2 * roll(4) : 2 * roll(2),
  });
  const drive = (queue: Virtqueue | undefined): void => {
    if (roll(6) === 0) {
      ring.tableAt((1024 + 16 * roll(8)) as GuestAddress, [anyDescriptor(), anyDescriptor()]);
    }
    const base = queue?.base ?? 0;
    const list = Array.from({ length: 1 + roll(3) * roll(3) }, anyDescriptor);
    if (roll(4) > 0) ring.offer((base & 0x7fff) % SIZE, (base & 0x8000) !== 0, list.slice(0, SIZE));
    if (roll(30) === 0) ring.descriptor(roll(SIZE), { ...anyDescriptor(), flags: roll(65536) });
  };
  return deviceLife(where, steps, { size: SIZE, mostAccesses: MOST_READS, codes, start, drive });
}

/** One life of a driver's queue under a hostile device. */
export function packedDriverLife(seed: number, steps: number): Life {
  const where = contested(seed, BYTES, 200);
  const { roll, memory } = where;
  const allocator = new GuestAllocator(0 as GuestAddress, BYTES);
  const place = roll(SIZE) | (roll(2) << 15);
  const options = {
    memory,
    allocator,
    size: SIZE,
    eventIdx: roll(2) === 0,
    indirect: roll(2) === 0,
    inOrder: roll(2) === 0,
    base: (place | (place << 16)) >>> 0,
  };
  const queue = new PackedDriverQueue<number>(options);
  const ring = new PackedRingWriter({ ...options, ...queue, size: SIZE });
  return driverLife(where, steps, queue, () => {
    for (let at = 0; at < SIZE && roll(3) > 0; at++) {
      ring.answer(
        at,
        roll(2) === 0,
        roll(SIZE + (roll(20) === 0 ? 9 : 0)),
        roll(roll(20) === 0 ? 2 ** 31 : 20),
      );
    }
  });
}
