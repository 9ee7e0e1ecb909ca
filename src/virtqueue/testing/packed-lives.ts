import assert from 'node:assert/strict';
import type { GuestAddress } from '../../memory/address.js';
import { GuestAllocator } from '../../memory/guest-allocator.js';
import type { Chain } from '../chain.js';
import { PackedDeviceQueue } from '../packed/device.js';
import { PackedDriverQueue } from '../packed/driver.js';
import { AFTER_BREAK, allowed, contested, forget, isBroken, type Life } from './contested-memory.js';
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
  const { roll, plain, view, watch, memory, quiet } = contested(seed, BYTES, plausible ? 60 : 3);
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
    roll(3) === 0 ? { view: view.slice(INFLIGHT, BYTES - INFLIGHT), entries: SIZE + roll(3) } : undefined;
  /** A driver has it start when it is broken, with what an earlier device left on record or nothing. */
  const start = (): PackedDeviceQueue | undefined => {
    const offset = roll(SIZE) | (roll(2) << 15);
    const base = (offset | (offset << 16)) >>> 0;
    for (let i = 0; i < SIZE; i++) ring.descriptor(i, {});
    if (roll(2) === 0) forget(plain, INFLIGHT);
    return allowed(codes, () => new PackedDeviceQueue({ ...place, ...negotiated, memory, base, inflight }));
  };

  const held: Chain[] = [];
  const anyDescriptor = () => ({
    address: roll(12) === 0 ? roll(2 ** 31) * 2 ** 22 : roll(2) === 0 ? roll(BYTES) : 1024 + 16 * roll(8),
    length: roll(12) === 0 ? roll(2 ** 31) * 2 : 16 * roll(5) + (roll(3) === 0 ? roll(16) : 0),
    id: roll(12) === 0 ? roll(65536) : roll(SIZE),
    flags: roll(3) === 0 ? 2 * roll(4) : 2 * roll(2),
  });
  let queue = start();
  let met = new Set<string>();
  let left = AFTER_BREAK;
  for (let n = 0; n < steps; n++) {
    // The driver: something plausible, or anything.
    if (roll(6) === 0) {
      ring.tableAt((1024 + 16 * roll(8)) as GuestAddress, [anyDescriptor(), anyDescriptor()]);
    }
    const base = queue?.base ?? 0;
    const list = Array.from({ length: 1 + roll(3) * roll(3) }, anyDescriptor);
    if (roll(4) > 0) ring.offer((base & 0x7fff) % SIZE, (base & 0x8000) !== 0, list.slice(0, SIZE));
    if (roll(30) === 0) ring.descriptor(roll(SIZE), { ...anyDescriptor(), flags: roll(65536) });
    if (roll(80) === 0) memory.remove(0 as GuestAddress, BYTES);
    else if (memory.regions.length === 0) {
      memory.add({ start: 0 as GuestAddress, view });
    }

    // The device: all that it may do, in any order.
    if (isBroken(met)) left -= 1;
    if (queue === undefined || left === 0) {
      queue?.close();
      held.length = 0;
      queue = start();
      met = new Set();
      left = AFTER_BREAK;
    }
    if (queue === undefined) continue;
    const now = queue;
    const before = watch.accesses;
    const chain = allowed(met, () => now.pop());
    assert.ok(watch.accesses - before <= MOST_READS, `${watch.accesses - before} accesses for one pop`);
    for (const code of met) codes.add(code);
    if (chain !== undefined) held.push(chain);
    if (held.length > 0 && roll(2) === 0) {
      const [one] = held.splice(roll(held.length), 1);
      const { readable, writable } = one!;
      const into = new Uint8Array(100);
      const read = allowed(codes, () => one!.read(into, 0, roll(100)));
      const wrote = allowed(codes, () => one!.write(into, 0, roll(100)));
      assert.ok((read ?? 0) <= readable && (wrote ?? 0) <= writable && one!.written <= writable);
      now.push(one!);
      assert.throws(() => now.push(one!), TypeError);
    }
    if (roll(3) === 0) now.publish();
    if (roll(5) === 0) now.disableKicks();
    if (roll(5) === 0) now.enableKicks();
    assert.equal(now.inFlight, held.length);
    assert.ok(held.length <= SIZE);
  }
  queue?.close();
  return { codes, accesses: watch.accesses };
}

/** One life of a driver's queue under a hostile device. */
export function packedDriverLife(seed: number, steps: number): Life {
  const { roll, watch, memory } = contested(seed, BYTES, 200);
  const codes = new Set<string>();
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
  const buffers = Array.from({ length: 4 }, () => ({ address: 0 as GuestAddress, length: 1 + roll(50) }));
  const out = new Set<number>();
  const rooms = new Map<number, number>();
  let token = 0;
  for (let n = 0, left = AFTER_BREAK; n < steps && left > 0; n++) {
    if (isBroken(codes)) left -= 1;
    const writable = buffers.slice(roll(4));
    if (allowed(codes, () => queue.add(buffers.slice(2), writable, token)) === true) {
      out.add(token);
      const room = writable.reduce((sum, { length }) => sum + length, 0);
      rooms.set(token++, room);
    }
    if (roll(2) === 0) queue.publish();
    // The device: mostly nearly right, somewhere.
    for (let at = 0; at < SIZE && roll(3) > 0; at++) {
      ring.answer(
        at,
        roll(2) === 0,
        roll(SIZE + (roll(20) === 0 ? 9 : 0)),
        roll(roll(20) === 0 ? 2 ** 31 : 20),
      );
    }
    if (roll(5) === 0) queue.enableInterrupts();
    if (roll(5) === 0) queue.disableInterrupts();
    for (let most = SIZE; ; most--) {
      const before = watch.accesses;
      const used = allowed(codes, () => queue.reap());
      assert.ok(watch.accesses - before <= 3);
      if (used === undefined) break;
      assert.ok(most > 0, 'more chains than there are descriptors');
      assert.ok(out.delete(used.token), 'each token comes back once');
      assert.ok(used.written <= rooms.get(used.token)!);
    }
    assert.equal(queue.inFlight, out.size);
  }
  assert.deepEqual(queue.detach(), [...out], 'and those that are left come back now');
  return { codes, accesses: watch.accesses };
}
