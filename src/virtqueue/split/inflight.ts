import type { MemoryView } from '../../memory/memory-view.js';
import {
  checkHeader,
  copyOf,
  counterAt,
  highestCounter,
  IN_ORDER_SO_FAR,
  INFLIGHT_VERSION,
  type InflightPlace,
  isMarked,
  nextCounter,
  type Recorded,
  refuse,
  serialOfCounter,
  VERSION_AND_ENTRIES,
} from '../inflight.js';
import {
  DESC_STATE_SPLIT,
  DESC_STATE_SPLIT_SIZE,
  QUEUE_REGION_SPLIT,
  splitRegionSize,
} from './inflight-layout.js';

/** What a split ring's region is for. */
export interface SplitInflightOptions {
  readonly size: number;
  /** The used index, as the driver sees it. */
  readonly used: number;
  /** The next available index, if no earlier device used the region. */
  readonly base: number;
  /** By head, the available index of the chain that was taken last. Without it all that is in flight is kept by its entry. */
  readonly indices?: Uint16Array;
  /** The head at an available index of the ring, if it can be read now; it may be anything. */
  readonly headAt?: (index: number) => number | undefined;
}

/**
 * What is in flight on a split queue, on record for the device that comes after this one.
 *
 * Where the region is ours, nothing is put into it as long as all chains are handed back in the order in which they were taken: what is in flight are
 * then those that are available from the used index on. A counter has the available index of its chain in its lowest 16 bits there, so that
 * it need not be put down either.
 */
export class SplitInflight {
  readonly #view: MemoryView;
  readonly #words: Int32Array | undefined;
  readonly #entries: number;
  readonly #ours: boolean;
  readonly #indices: Uint16Array | undefined;
  readonly #headAt: SplitInflightOptions['headAt'];
  readonly #mask: number;
  /** Heads that were handed back since the last that the driver was shown. */
  readonly #batch: Uint16Array;
  #batched = 0;
  #lastHead = 0;
  #usedIdx: number;
  /** Of the next chain that is taken; while all is in order, of the one at the used index. */
  #counter = 1;
  /** Whether all is in order so far. */
  inOrder = false;
  /** Heads that an earlier device took and did not hand back, oldest first, and how many of them were taken anew. */
  #left: Uint16Array = new Uint16Array();
  #again = 0;
  /** Whether an earlier device used this region. */
  readonly resumed: boolean;

  /**
   * Finds what an earlier device left.
   *
   * @throws VirtqueueError when the region is none for this ring.
   */
  constructor(place: InflightPlace, { size, used, base, indices, headAt }: SplitInflightOptions) {
    const { view, entries, ours = false } = place;
    if (entries < size) refuse(`it has ${entries} entries for a queue of ${size}`);
    this.#view = view;
    this.#words = view.words;
    this.#entries = entries;
    this.#ours = ours;
    this.#indices = ours ? indices : undefined;
    this.#headAt = headAt;
    this.#mask = size - 1;
    this.#batch = new Uint16Array(size);
    this.#usedIdx = used;
    const words = copyOf(place, splitRegionSize(entries));
    const state = checkHeader(words, entries, ours);
    this.resumed = state !== 'fresh';
    if (state === 'entries') {
      this.#left = this.#recover(words, size);
      this.settle(used);
    } else {
      const last = words[1]!;
      // Of the first chain of a ring: none is 0.
      this.#counter =
        state === 'fresh' ? (ours ? 0x1_0000 + base : 1) : last + ((used - last) & 0xffff) + 2 ** 32;
      if (state === 'order') this.#resume(used);
      else this.#begin(used === base);
    }
  }

  /** How many of them were not taken anew. */
  get pending(): number {
    return this.#left.length - this.#again;
  }

  /** The next of those, at most so many; they stay. */
  ahead(most: number): readonly number[] {
    return [...this.#left.subarray(this.#again, this.#again + most)];
  }

  /** The next of those. */
  next(): number {
    return this.#left[this.#again++]!;
  }

  /** The last of those was not taken after all. */
  putBack(): void {
    this.#again -= 1;
  }

  /**
   * The next chain that is handed back is not the next in order: from now on what is in flight is kept by its entry.
   *
   * @param used - the used index, with those that were handed back and not shown.
   * @param next - the next available index.
   */
  leaveOrder(used: number, next: number): void {
    let counter = this.#counter;
    for (let index = this.#usedIdx; index !== next; index = (index + 1) & 0xffff) {
      const head = this.#headOf(index);
      this.#enter(head, counter);
      counter += 1;
      if (this.#batched < ((used - this.#usedIdx) & 0xffff)) this.pushed(head);
    }
    // For a device after the next one.
    if (next === this.#usedIdx) this.#putCounter(0, counter);
    this.#counter = counter;
    this.#lastHead = 0;
    this.#put(LAST_AND_USED, this.#usedIdx << 16);
    this.inOrder = false;
    this.#put(0, 0);
    this.#put(1, 0);
  }

  /** Of a chain that was taken and not shown. */
  #headOf(index: number): number {
    const indices = this.#indices!;
    const named = (this.#headAt!(index) ?? 0) & this.#mask;
    if (indices[named] === index) return named;
    // The driver has written something else there; or it made it available again before it was used.
    const found = indices.indexOf(index);
    return found < 0 ? named : found;
  }

  /** If nothing is in flight, all is in order again. @param next - the next available index. */
  settle(next: number): void {
    if (this.#indices === undefined || next !== this.#usedIdx || this.pending > 0) return;
    this.inOrder = true;
    this.#put(1, this.#counter | 0);
    this.#put(0, IN_ORDER_SO_FAR);
  }

  /** While all is in order: the driver was shown all that was pushed. @param usedIdx - the ring's. */
  passed(usedIdx: number): void {
    if (!this.inOrder) return;
    const before = this.#usedIdx;
    this.#usedIdx = usedIdx;
    this.#counter += (usedIdx - before) & 0xffff;
    // Twice while the index goes round, so that it is known how often it did.
    if (((usedIdx ^ before) & 0x8000) !== 0) this.#put(1, this.#counter | 0);
  }

  /** The device is about to be given this chain. */
  taken(head: number): void {
    const counter = this.#counter;
    this.#enter(head, counter);
    this.#counter = this.#ours ? counter + 1 : nextCounter(counter);
  }

  #enter(head: number, counter: number): void {
    this.#putCounter(head, counter);
    this.#put(entryAt(head), 1);
  }

  #putCounter(head: number, counter: number): void {
    const at = entryAt(head) + COUNTER;
    this.#put(at, counter | 0);
    this.#put(at + 1, (counter / 2 ** 32) | 0);
  }

  /** It was handed back; the driver does not know yet. */
  pushed(head: number): void {
    this.#batch[this.#batched++] = head;
  }

  /** The driver is about to be shown all that was pushed. */
  showing(): void {
    for (let i = 0; i < this.#batched; i++) {
      const head = this.#batch[i]!;
      this.#put(entryAt(head) + NEXT, this.#lastHead << 16);
      this.#lastHead = head;
    }
    this.#put(LAST_AND_USED, this.#lastHead | (this.#usedIdx << 16));
  }

  /** It was. @param usedIdx - the ring's. */
  shown(usedIdx: number): void {
    for (let i = 0; i < this.#batched; i++) {
      const head = this.#batch[i]!;
      this.#put(entryAt(head), 0);
    }
    this.#batched = 0;
    this.#usedIdx = usedIdx;
    this.#put(LAST_AND_USED, this.#lastHead | (usedIdx << 16));
  }

  /** Of a chain that was taken and not handed back. */
  serialOf(head: number): number {
    if (!this.inOrder) return serialOfCounter(this.#get(entryAt(head) + COUNTER));
    return serialOfCounter(this.#counter + ((this.#indices![head]! - this.#usedIdx) & 0xffff));
  }

  /** Whether the driver was not shown that this chain is used. */
  isOut(head: number, serial: number): boolean {
    if (this.#isAhead(head, serial)) return true;
    if (serial >>> 0 === 0x8000_0000 && this.#isAhead(head, 0)) return true;
    if (this.inOrder) return false;
    const at = entryAt(head);
    return (
      head < this.#entries &&
      (this.#get(at) & 0xff) === 1 &&
      serialOfCounter(this.#get(at + COUNTER)) === serial >>> 0
    );
  }

  /** Whether the chain of this head and counter is one of those from the used index on. */
  #isAhead(head: number, counter: number): boolean {
    const ahead = (counter - this.#counter) >>> 0;
    if (!this.#ours || ahead > this.#mask) return false;
    // Taken by an earlier device, while all was in order: the ring alone says that it is there.
    if (!this.inOrder) return true;
    const index = (this.#usedIdx + ahead) & 0xffff;
    // One that this device did not take was taken by an earlier one.
    const found = this.#indices![head] === index ? head : this.#headAt!(index);
    return found === undefined || found === head;
  }

  #get(word: number): number {
    return this.#words === undefined ? this.#view.read32(4 * word) | 0 : this.#words[word]!;
  }

  #put(word: number, value: number): void {
    const words = this.#words;
    if (words !== undefined) words[word] = value;
    else this.#view.write32(4 * word, value >>> 0);
  }

  #begin(inOrder: boolean): void {
    for (let head = 0; head < this.#entries; head++) this.#put(entryAt(head), 0);
    this.#put(0, 0);
    this.#put(1, 0);
    this.#put(LAST_AND_USED, this.#usedIdx << 16);
    if (inOrder) this.settle(this.#usedIdx);
    // Last: until it has a version, it is none.
    this.#put(VERSION_AND_ENTRIES, INFLIGHT_VERSION | (this.#entries << 16));
  }

  /** An earlier device had all in order up to the used index. */
  #resume(used: number): void {
    // It may have died when it was about to put them down.
    for (let head = 0; head < this.#entries; head++) {
      this.#put(entryAt(head), 0);
      this.#putCounter(head, 0);
    }
    this.#put(1, this.#counter | 0);
    this.inOrder = true;
    if (this.#indices === undefined) this.leaveOrder(used, used);
  }

  #recover(words: Int32Array, size: number): Uint16Array {
    const lastHead = words[LAST_AND_USED]! & 0xffff;
    this.#finishBatch(words, lastHead, (this.#usedIdx - (words[LAST_AND_USED]! >>> 16)) & 0xffff);
    this.#lastHead = lastHead < this.#entries ? lastHead : 0;
    const left: Recorded[] = [];
    for (let index = 0; index < this.#entries; index++) {
      const at = entryAt(index);
      if (!isMarked(words[at]!, index)) continue;
      if (index >= size) refuse(`entry ${index} is in flight in a queue of ${size}`);
      left.push({ index, counter: counterAt(words, at + COUNTER, index) });
    }
    left.sort((a, b) => a.counter - b.counter);
    const counters = Array.from({ length: this.#entries }, (_, index) => entryAt(index) + COUNTER);
    const highest = highestCounter(left.at(-1)?.counter ?? 0, words, counters);
    // With the index in its lowest bits: see above.
    const index = this.#usedIdx + left.length;
    this.#counter = this.#ours ? highest + ((index - highest) & 0xffff) : nextCounter(highest);
    return Uint16Array.from(left, ({ index }) => index);
  }

  /** The driver was shown so many more chains than the region says: those of the last batch, whose marks are what was not done. */
  #finishBatch(words: Int32Array, lastHead: number, count: number): void {
    if (count > this.#entries) {
      // Of an earlier life of the ring, and of no use unless there is something in it.
      for (let index = 0; index < this.#entries; index++) {
        if (isMarked(words[entryAt(index)]!, index))
          refuse(`the ring's used index ${this.#usedIdx} is ${count} ahead of what it says`);
      }
    } else {
      let head = lastHead;
      for (let i = 0; i < count; i++) {
        if (head >= this.#entries) refuse(`the list of those that were used last has entry ${head}`);
        const at = entryAt(head);
        if (isMarked(words[at]!, head)) {
          words[at] = 0;
          this.#put(at, 0);
        }
        head = words[at + NEXT]! >>> 16;
      }
    }
    if (count > 0)
      this.#put(LAST_AND_USED, (lastHead < this.#entries ? lastHead : 0) | (this.#usedIdx << 16));
  }
}

/** By words: an entry, and in it; in the header both of these. */
const NEXT: number = (DESC_STATE_SPLIT.next - 2) / 4;
const COUNTER: number = DESC_STATE_SPLIT.counter / 4;
const LAST_AND_USED: number = QUEUE_REGION_SPLIT.last_batch_head / 4;

function entryAt(head: number): number {
  return (QUEUE_REGION_SPLIT.desc + DESC_STATE_SPLIT_SIZE * head) / 4;
}
