import type { MemoryView } from '../../memory/memory-view.js';
import {
  checkHeader,
  copyOf,
  counterAfter,
  counterAt,
  INFLIGHT_VERSION,
  type InflightPlace,
  isMarked,
  nextCounter,
  type Recorded,
  refuse,
  VERSION_AND_ENTRIES,
} from '../inflight.js';
import {
  DESC_STATE_SPLIT,
  DESC_STATE_SPLIT_SIZE,
  QUEUE_REGION_SPLIT,
  splitRegionSize,
} from './inflight-layout.js';

/** What is in flight on a split queue, on record for the device that comes after this one. */
export class SplitInflight {
  readonly #view: MemoryView;
  readonly #words: Int32Array | undefined;
  readonly #entries: number;
  /** Heads that were handed back since the last that the driver was shown. */
  readonly #batch: Uint16Array;
  #batched = 0;
  #lastHead = 0;
  #usedIdx: number;
  #counter = 1;
  /** Heads that an earlier device took and did not hand back, oldest first, and how many of them were taken anew. */
  readonly #left: Uint16Array;
  #again = 0;
  /** Whether an earlier device used this region. */
  readonly resumed: boolean;

  /**
   * Finds what an earlier device left.
   *
   * @param size - of the queue.
   * @param usedIdx - the ring's, as the driver sees it.
   * @throws VirtqueueError when the region is none for this ring.
   */
  constructor(place: InflightPlace, size: number, usedIdx: number) {
    const { view, entries } = place;
    if (entries < size) refuse(`it has ${entries} entries for a queue of ${size}`);
    this.#view = view;
    this.#words = view.words;
    this.#entries = entries;
    this.#batch = new Uint16Array(size);
    this.#usedIdx = usedIdx;
    const words = copyOf(place, splitRegionSize(entries));
    this.resumed = checkHeader(words, entries);
    if (this.resumed) this.#left = this.#recover(words, size);
    else {
      this.#begin();
      this.#left = new Uint16Array();
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

  /** The device is about to be given this chain. */
  taken(head: number): void {
    const at = entryAt(head);
    const counter = this.#counter;
    this.#put(at + COUNTER, counter | 0);
    this.#put(at + COUNTER + 1, (counter / 2 ** 32) | 0);
    this.#counter = nextCounter(counter);
    this.#put(at, 1);
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
    return this.#get(entryAt(head) + COUNTER) >>> 0;
  }

  /** Whether the driver was not shown that this chain is used. */
  isOut(head: number, serial: number): boolean {
    const at = entryAt(head);
    return head < this.#entries && (this.#get(at) & 0xff) === 1 && this.#get(at + COUNTER) === (serial | 0);
  }

  #get(word: number): number {
    return this.#words === undefined ? this.#view.read32(4 * word) | 0 : this.#words[word]!;
  }

  #put(word: number, value: number): void {
    const words = this.#words;
    if (words !== undefined) words[word] = value;
    else this.#view.write32(4 * word, value >>> 0);
  }

  #begin(): void {
    for (let head = 0; head < this.#entries; head++) this.#put(entryAt(head), 0);
    this.#put(0, 0);
    this.#put(1, 0);
    this.#put(LAST_AND_USED, this.#usedIdx << 16);
    // Last: until it has a version, it is none.
    this.#put(VERSION_AND_ENTRIES, INFLIGHT_VERSION | (this.#entries << 16));
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
    this.#counter = counterAfter(left.at(-1)?.counter ?? 0, words, counters);
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
