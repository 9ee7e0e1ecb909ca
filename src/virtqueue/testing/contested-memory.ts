import type { GuestAddress } from '../../memory/address.js';
import { GuestMemory } from '../../memory/guest-memory.js';
import { MappedView } from '../../memory/mapped-view.js';
import { MemoryError } from '../../memory/memory-error.js';
import { VirtqueueError } from '../virtqueue-error.js';
import { WatchedView } from './watched-view.js';

/** A seeded source of numbers: fast-check shrinks the seed's uses, and a run is the same each time. */
function dice(seed: number): (below: number) => number {
  let state = seed | 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

export interface Contested {
  readonly roll: (below: number) => number;
  readonly plain: MappedView;
  /** What `memory` consists of: put it back when it was taken away. */
  readonly view: WatchedView;
  readonly watch: { accesses: number };
  readonly memory: GuestMemory;
  /** The same without the other. */
  readonly quiet: GuestMemory;
}

/** What came of one queue under a hostile other end. */
export interface Life {
  /** Of the errors that it met. */
  readonly codes: Set<string>;
  /** To the memory, by that queue. */
  readonly accesses: number;
}

/** Memory at address 0 that somebody else writes to before each `every`-th access. */
export function contested(seed: number, bytes: number, every: number): Contested {
  const roll = dice(seed);
  const plain = new MappedView(new ArrayBuffer(bytes));
  const watch = { accesses: 0 };
  const before = () => {
    watch.accesses += 1;
    if (roll(every) === 0) plain.write16(2 * roll(bytes / 2), roll(2) === 0 ? roll(65536) : roll(10));
  };
  const memory = new GuestMemory();
  const view = new WatchedView(plain, { before, byWords: seed % 2 === 0 });
  memory.add({ start: 0 as GuestAddress, view });
  const quiet = new GuestMemory();
  quiet.add({ start: 0 as GuestAddress, view: plain });
  return { roll, plain, view, watch, memory, quiet };
}

/** Calls and returns `undefined` when the call failed as it may. */
export function allowed<T>(codes: Set<string>, call: () => T): T | undefined {
  try {
    return call();
  } catch (error) {
    if (!(error instanceof VirtqueueError || error instanceof MemoryError)) throw error;
    codes.add(error.code);
    return undefined;
  }
}

/** How many turns a life goes on for when its queue is broken: little happens then. */
export const AFTER_BREAK = 8;

/** Whether one of these says that a queue is broken; memory that is not there breaks none. */
export function isBroken(codes: ReadonlySet<string>): boolean {
  return codes.size > (codes.has('UNMAPPED') ? 1 : 0);
}

/** Makes all zero from an offset on. */
export function forget(memory: MappedView, from: number): void {
  for (let at = from; at < memory.length; at += 4) memory.write32(at, 0);
}
