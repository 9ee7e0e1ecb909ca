import type { GuestAddress } from '../../memory/address.js';
import { GuestAllocator } from '../../memory/guest-allocator.js';
import { SplitDeviceQueue } from '../split/device.js';
import { SplitDriverQueue } from '../split/driver.js';
import { allowed, contested, forget, type Life } from './contested-memory.js';
import { deviceLife, driverLife } from './lives.js';
import { RingWriter } from './ring-writer.js';

const BYTES = 4096;
/** Where what is in flight is on record. */
const INFLIGHT = 3072;
const SIZE = 8;
/** Reads that one pop may take: idx, entry, and two tables of at most `SIZE` and 1024 descriptors, four reads each; and what is kept on record. */
const MOST_READS = 2 + 4 * (SIZE + 1024) + 16 * SIZE;

/**
 * One life of a device's queue under a hostile driver, which writes anything anywhere, also between two accesses of one call. Nothing but `VirtqueueError` and
 * `MemoryError` may come of it, and no call may take more than a bounded number of accesses.
 */
export function splitDeviceLife(seed: number, steps: number, plausible: boolean): Life {
  const where = contested(seed, BYTES, plausible ? 40 : 3);
  const { roll, plain, view, memory, quiet } = where;
  const codes = new Set<string>();
  for (let at = 0; at < BYTES; at += 2) plain.write16(at, plausible ? 0 : roll(65536));
  const place = {
    size: SIZE,
    descriptorArea: 0 as GuestAddress,
    driverArea: 256 as GuestAddress,
    deviceArea: 512 as GuestAddress,
  };
  const ring = new RingWriter({ ...place, memory: quiet });
  const negotiated = { eventIdx: roll(2) === 0, indirect: roll(4) > 0, inOrder: roll(3) === 0 };
  const inflight =
    roll(3) === 0
      ? { view: view.slice(INFLIGHT, BYTES - INFLIGHT), entries: SIZE + roll(3), ours: roll(2) === 0 }
      : undefined;
  /** A driver has it start when it is broken, with what an earlier device left on record or nothing. */
  const start = (): SplitDeviceQueue | undefined => {
    const base = roll(65536);
    if (plausible) ring.usedIndex = base;
    ring.availIndex = base;
    if (roll(2) === 0) forget(plain, INFLIGHT);
    return allowed(codes, () => new SplitDeviceQueue({ ...place, ...negotiated, memory, base, inflight }));
  };

  const anyDescriptor = () => ({
    address: roll(12) === 0 ? roll(2 ** 31) * 2 ** 22 : roll(2) === 0 ? roll(BYTES) : 1024 + 16 * roll(8),
    length: roll(12) === 0 ? roll(2 ** 31) * 2 : 16 * roll(5) + (roll(3) === 0 ? roll(16) : 0),
    flags: roll(3) === 0 ? roll(8) : roll(3),
    next: roll(SIZE + (roll(4) === 0 ? 2 : 0)),
  });
  const drive = (): void => {
    for (let i = roll(4); i > 0; i--) ring.descriptor(roll(SIZE), anyDescriptor());
    if (roll(6) === 0)
      ring.tableAt((1024 + 16 * roll(8)) as GuestAddress, [anyDescriptor(), anyDescriptor()]);
    if (roll(3) > 0) ring.offer(roll(SIZE + (roll(8) === 0 ? 2 : 0)));
    if (roll(60) === 0) ring.availIndex = roll(65536);
  };
  return deviceLife(where, steps, { size: SIZE, mostAccesses: MOST_READS, codes, start, drive });
}

/** One life of a driver's queue under a hostile device. */
export function splitDriverLife(seed: number, steps: number): Life {
  const where = contested(seed, BYTES, 200);
  const { roll, memory } = where;
  const allocator = new GuestAllocator(0 as GuestAddress, BYTES);
  const options = {
    memory,
    allocator,
    size: SIZE,
    eventIdx: roll(2) === 0,
    indirect: roll(2) === 0,
    inOrder: roll(2) === 0,
  };
  const queue = new SplitDriverQueue<number>({ ...options, base: roll(65536) });
  const ring = new RingWriter({ ...queue, ...options });
  return driverLife(where, steps, queue, () => {
    if (roll(3) > 0) ring.answer(roll(SIZE + (roll(20) === 0 ? 9 : 0)), roll(roll(20) === 0 ? 2 ** 31 : 20));
    if (roll(60) === 0) ring.usedIndex = roll(65536);
  });
}
