import assert from 'node:assert/strict';
import type { GuestAddress } from '../../memory/address.js';
import type { Chain } from '../chain.js';
import type { DriverQueue } from '../driver-queue.js';
import type { Virtqueue } from '../virtqueue.js';
import { AFTER_BREAK, allowed, type Contested, isBroken, type Life } from './contested-memory.js';

/** A device's queue of one ring, and the hostile driver of that ring. */
export interface DeviceSide {
  readonly size: number;
  /** Accesses that one pop may take. */
  readonly mostAccesses: number;
  /** Errors that were met so far. */
  readonly codes: Set<string>;
  /** The driver has the queue start, at first and when it is broken. @returns nothing when it can't. */
  start(): Virtqueue | undefined;
  /** What the driver writes before a turn of the device: something plausible, or anything. */
  drive(queue: Virtqueue | undefined): void;
}

/** So many turns of a device's queue, which does all that it may do, in any order. */
export function deviceLife(where: Contested, steps: number, side: DeviceSide): Life {
  const { roll, view, watch, memory } = where;
  const { size, codes } = side;
  const held: Chain[] = [];
  let queue = side.start();
  let met = new Set<string>();
  let left = AFTER_BREAK;
  for (let n = 0; n < steps; n++) {
    side.drive(queue);
    if (roll(80) === 0) memory.remove(0 as GuestAddress, view.length);
    else if (memory.regions.length === 0) memory.add({ start: 0 as GuestAddress, view });

    if (isBroken(met)) left -= 1;
    if (queue === undefined || left === 0) {
      queue?.close();
      held.length = 0;
      queue = side.start();
      met = new Set();
      left = AFTER_BREAK;
    }
    if (queue === undefined) continue;
    const now = queue;
    const before = watch.accesses;
    const chain = allowed(met, () => now.pop());
    assert.ok(
      watch.accesses - before <= side.mostAccesses,
      `${watch.accesses - before} accesses for one pop`,
    );
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
    assert.ok(held.length <= size);
  }
  queue?.close();
  return { codes, accesses: watch.accesses };
}

/**
 * So many turns of a driver's queue.
 *
 * @param answer - what the hostile device writes in each: mostly nearly right.
 */
export function driverLife(
  where: Contested,
  steps: number,
  queue: DriverQueue<number>,
  answer: () => void,
): Life {
  const { roll, watch } = where;
  const codes = new Set<string>();
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
    answer();
    if (roll(5) === 0) queue.enableInterrupts();
    if (roll(5) === 0) queue.disableInterrupts();
    for (let most = queue.size; ; most--) {
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
