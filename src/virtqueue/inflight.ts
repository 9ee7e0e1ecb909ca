import type { MemoryView } from '../memory/memory-view.js';
import { VirtqueueError } from './virtqueue-error.js';

/*
 * What a device has taken of a queue and not handed back, in memory that outlives it: the "inflight region" of the vhost-user document. Its
 * two layouts are beside those of the rings; this is what they have in common.
 *
 * A device may be killed at any instruction. The processor then has carried out each store before that, in the order of the program, and none
 * after it, so that plain stores will do as long as each leaves a region that says what is true.
 */

/** Where what is in flight on one queue is kept. The front-end owns the memory, and may put anything there. */
export interface InflightPlace {
  /** The queue's region. It begins at a multiple of 4. */
  readonly view: MemoryView;
  /** Entries that it has: at least the queue's size. */
  readonly entries: number;
  /** Nobody else reads it than a later device of this program: where chains are handed back in order, it need not say which are in flight. */
  readonly ours?: boolean | undefined;
}

/** The version that there is; 0 stands for a region that was never used. */
export const INFLIGHT_VERSION = 1;

/** Regions of queues lie one after the other, each at a multiple of this, as those of others do. */
export const INFLIGHT_ALIGNMENT = 64;

/** In bytes from the start of a region of either layout: le64 features (none are known, but see below), le16 version, le16 number of entries. */
export const QUEUE_REGION = { features: 0, version: 8, desc_num: 10 } as const;

/** The same by words: both of them. */
export const VERSION_AND_ENTRIES: number = QUEUE_REGION.version / 4;

/** One of the requests that a region says are in flight. */
export interface Recorded {
  /** Of its entry. */
  readonly index: number;
  /** By which those that were taken earlier are known. */
  readonly counter: number;
}

/** A region, read once: what is checked is what is used. */
export function copyOf({ view }: InflightPlace, length: number): Int32Array {
  const bytes = new Uint8Array(length);
  view.copyOut(0, bytes, 0, length);
  return new Int32Array(bytes.buffer);
}

/**
 * A feature of regions that are ours: what is in flight are all chains from the first on that the driver does not have back, in the order in which
 * it made them available, and the ring itself says which. The entries say nothing, and the upper half of the features has what the next
 * chain's counter is found by.
 */
export const IN_ORDER_SO_FAR = 1;

/**
 * @param ours - see `InflightPlace`.
 * @returns whether it was used before, and what its entries say then.
 * @throws VirtqueueError when it is of a kind that is not known, or another size.
 */
export function checkHeader(
  words: Int32Array,
  entries: number,
  ours: boolean,
): 'fresh' | 'entries' | 'order' {
  const [lower, upper, both] = words as unknown as [number, number, number];
  const version = both & 0xffff;
  if (version === 0) return 'fresh';
  if (version !== INFLIGHT_VERSION) refuse(`version ${version} of it is not known`);
  const known = ours ? lower === 0 || lower === IN_ORDER_SO_FAR : lower === 0 && upper === 0;
  if (!known) refuse('it has features that are not known');
  if (both >>> 16 !== entries) refuse(`it says that it has ${both >>> 16} entries, and has ${entries}`);
  return lower === 0 ? 'entries' : 'order';
}

/** Whether an entry says that its request is in flight. */
export function isMarked(word: number, index: number): boolean {
  const mark = word & 0xff;
  if (mark > 1) refuse(`entry ${index} is marked with ${mark}`);
  return mark === 1;
}

/** The counter at `words[at]`. */
export function counterAt(words: Int32Array, at: number, index: number): number {
  const counter = (words[at + 1]! >>> 0) * 2 ** 32 + (words[at]! >>> 0);
  // Nobody counts that far, and the next ones have to be larger.
  if (counter >= Number.MAX_SAFE_INTEGER) refuse(`the counter of entry ${index} is beyond 2^53`);
  return counter;
}

/**
 * The highest counter that was ever given, or was about to be.
 *
 * @param last - the highest of those that are in flight.
 */
export function highestCounter(last: number, words: Int32Array, places: Iterable<number>): number {
  let highest = last;
  for (const at of places) {
    const counter = (words[at + 1]! >>> 0) * 2 ** 32 + (words[at]! >>> 0);
    // Of a chain that is not in flight, and anything might be there.
    if (counter < 2 ** 52 && counter > highest) highest = counter;
  }
  return highest;
}

/** A chain's serial number, of its counter; never 0, which is none. */
export function serialOfCounter(counter: number): number {
  // One that is half of all of them away, so that no other in flight has it.
  return counter >>> 0 || 0x8000_0000;
}

/** The counter after another, of a region that is not ours. Its lower half is not 0, which is no serial number. */
export function nextCounter(counter: number): number {
  const next = counter + 1;
  return (next | 0) === 0 ? next + 1 : next;
}

/** @throws VirtqueueError always: the queue is broken until its driver resets it. */
export function refuse(text: string): never {
  throw new VirtqueueError(
    'INFLIGHT_REGION',
    'vhost-user, Inflight I/O tracking',
    `inflight region: ${text}`,
  );
}
