/** Timers of one chunk. */
export const CHUNK = 32;
/** Chunks of one segment, the piece in which memory is had and given back: 192 KiB. */
const SEGMENT_BITS = 8;
const SEGMENT = 1 << SEGMENT_BITS;
/** Segments that are kept once they were needed. */
const KEPT = 2;
/** A timer has 24 bytes: as Float64s its deadline and interval, as Int32s (from 4 on) its id and number. */
export const FLOATS = 3;
export const INTERVAL = 1;
export const INTS = 6;
export const ID = 4;
export const NUMBER = 5;

/**
 * Timers in lists, the first in the first out. A list is a chain of chunks, so that whoever goes through it finds one timer beside the
 * other, and none has a link of its own. Chunks are numbered from 1; 0 is none.
 */
export class TimerLists {
  /** The segments, each seen in two ways. */
  readonly #floats: Float64Array[] = [];
  readonly #ints: Int32Array[] = [];
  /** By list. */
  readonly #head: Int32Array;
  readonly #tail: Int32Array;
  /** By chunk: its neighbours in its list (of a free one, the next free one), the list + 1, or 0 for a free one, and which entries are used. */
  #next = new Int32Array(SEGMENT);
  #previous = new Int32Array(SEGMENT);
  #list = new Int32Array(SEGMENT);
  #start = new Uint8Array(SEGMENT);
  #end = new Uint8Array(SEGMENT);
  #free = 0;
  /** Chunks that exist, or did when number 0 counts; and of these, in lists. */
  #chunks = 0;
  #used = 0;
  #size = 0;

  /** @param lists - how many. */
  constructor(lists: number) {
    this.#head = new Int32Array(lists);
    this.#tail = new Int32Array(lists);
  }

  /** Timers in all lists. */
  get size(): number {
    return this.#size;
  }

  /** Chunks that there are, free ones too. */
  get chunks(): number {
    return this.#chunks;
  }

  /** Bytes that it takes. */
  get bytes(): number {
    return this.#chunks * CHUNK * 8 * FLOATS + this.#next.length * 14 + 8 * this.#head.length;
  }

  isEmpty(list: number): boolean {
    return this.#head[list] === 0;
  }

  /** Whether it has one chunk, or none. */
  isShort(list: number): boolean {
    return this.#head[list] === this.#tail[list];
  }

  /** How many timers a list has, if it has no more than so many chunks; else Infinity. */
  count(list: number, most: number): number {
    let count = 0;
    let chunks = 0;
    for (let chunk = this.#head[list]!; chunk !== 0; chunk = this.#next[chunk]!) {
      if (chunks === most) return Infinity;
      chunks += 1;
      count += this.#end[chunk]! - this.#start[chunk]!;
    }
    return count;
  }

  first(list: number): number {
    return this.#head[list]!;
  }

  /** The list that a chunk is of, or -1. */
  listOf(chunk: number): number {
    return this.#list[chunk]! - 1;
  }

  /** Entries of a chunk are numbered from `start` to before `end`. */
  start(chunk: number): number {
    return this.#start[chunk]!;
  }

  end(chunk: number): number {
    return this.#end[chunk]!;
  }

  /** The chunk that follows in the list, or 0. */
  after(chunk: number): number {
    return this.#next[chunk]!;
  }

  /** The memory in which a chunk lies; entry `n` of it is there the one at `base(chunk) + n`. */
  floatsOf(chunk: number): Float64Array {
    return this.#floats[chunk >>> SEGMENT_BITS]!;
  }

  intsOf(chunk: number): Int32Array {
    return this.#ints[chunk >>> SEGMENT_BITS]!;
  }

  base(chunk: number): number {
    return (chunk & (SEGMENT - 1)) * CHUNK;
  }

  append(list: number, deadline: number, interval: number, id: number, number: number): void {
    let chunk = this.#tail[list]!;
    if (chunk === 0 || this.#end[chunk] === CHUNK) chunk = this.#extend(list);
    const entry = this.#end[chunk]!;
    this.#end[chunk] = entry + 1;
    this.#size += 1;
    const at = this.base(chunk) + entry;
    const floats = this.#floats[chunk >>> SEGMENT_BITS]!;
    const ints = this.#ints[chunk >>> SEGMENT_BITS]!;
    floats[FLOATS * at] = deadline;
    floats[FLOATS * at + INTERVAL] = interval;
    ints[INTS * at + ID] = id;
    ints[INTS * at + NUMBER] = number;
  }

  /** Lets go of the entries before `start`; of the chunk, when there are none left. @returns whether the chunk is still there. */
  dropBefore(chunk: number, start: number): boolean {
    this.#size -= start - this.#start[chunk]!;
    this.#start[chunk] = start;
    if (start < this.#end[chunk]!) return true;
    this.#remove(chunk);
    return false;
  }

  /** Keeps the entries of a chunk whose bits are set, in their order. @returns whether the chunk is still there. */
  keep(chunk: number, entries: number): boolean {
    const floats = this.floatsOf(chunk);
    const base = this.base(chunk);
    let to = 0;
    for (let entry = this.#start[chunk]!; entry < this.#end[chunk]!; entry++) {
      if (((entries >>> entry) & 1) === 0) continue;
      if (to !== entry) {
        floats.copyWithin(FLOATS * (base + to), FLOATS * (base + entry), FLOATS * (base + entry + 1));
      }
      to += 1;
    }
    this.#size -= this.#end[chunk]! - this.#start[chunk]! - to;
    this.#start[chunk] = 0;
    this.#end[chunk] = to;
    if (to === 0) this.#remove(chunk);
    return to > 0;
  }

  /** Takes what the next chunk of the list has into this one, if it has room for all of it. */
  join(chunk: number): void {
    const next = this.#next[chunk]!;
    if (next === 0) return;
    const count = this.#end[next]! - this.#start[next]!;
    const end = this.#end[chunk]!;
    if (end + count > CHUNK) return;
    const at = FLOATS * (this.base(next) + this.#start[next]!);
    const entries = this.floatsOf(next).subarray(at, at + FLOATS * count);
    this.floatsOf(chunk).set(entries, FLOATS * (this.base(chunk) + end));
    this.#end[chunk] = end + count;
    this.#remove(next);
  }

  /** Appends all of a list to another. */
  moveAll(from: number, to: number): void {
    const head = this.#head[from]!;
    if (head === 0) return;
    for (let chunk = head; chunk !== 0; chunk = this.#next[chunk]!) this.#list[chunk] = to + 1;
    const tail = this.#tail[to]!;
    this.#previous[head] = tail;
    if (tail === 0) this.#head[to] = head;
    else this.#next[tail] = head;
    this.#tail[to] = this.#tail[from]!;
    this.#head[from] = 0;
    this.#tail[from] = 0;
  }

  /** Empties all lists. */
  clear(): void {
    this.#head.fill(0);
    this.#tail.fill(0);
    this.#list.fill(0);
    this.#used = 0;
    this.#size = 0;
    this.#truncate(this.#chunks);
  }

  /** Whether it has far more memory than it needs. */
  get hasSpare(): boolean {
    return this.#floats.length >= 2 * this.#needed();
  }

  /** Gives back what it has far too much. */
  trim(): void {
    if (!this.hasSpare) return;
    const most = this.#needed() * SEGMENT;
    let to = 1;
    for (let chunk = most; chunk < this.#chunks; chunk++) {
      if (this.#list[chunk] === 0) continue;
      while (this.#list[to] !== 0) to += 1;
      this.#relocate(chunk, to);
    }
    this.#truncate(most);
  }

  /** Segments that are enough, with room for as much again. */
  #needed(): number {
    return Math.max(KEPT, Math.ceil((2 * (this.#used + 1)) / SEGMENT));
  }

  /** @param chunks - how many are kept; those behind are in no list. */
  #truncate(chunks: number): void {
    if (chunks < this.#chunks) {
      this.#floats.length = chunks / SEGMENT;
      this.#ints.length = chunks / SEGMENT;
      this.#chunks = chunks;
      this.#next = this.#next.slice(0, chunks);
      this.#previous = this.#previous.slice(0, chunks);
      this.#list = this.#list.slice(0, chunks);
      this.#start = this.#start.slice(0, chunks);
      this.#end = this.#end.slice(0, chunks);
    }
    this.#free = 0;
    for (let chunk = chunks - 1; chunk > 0; chunk--) {
      if (this.#list[chunk] !== 0) continue;
      this.#next[chunk] = this.#free;
      this.#free = chunk;
    }
  }

  #relocate(chunk: number, to: number): void {
    const list = this.#list[chunk]! - 1;
    const next = this.#next[chunk]!;
    const previous = this.#previous[chunk]!;
    const at = FLOATS * this.base(chunk);
    const entries = this.floatsOf(chunk).subarray(at, at + FLOATS * CHUNK);
    this.floatsOf(to).set(entries, FLOATS * this.base(to));
    this.#next[to] = next;
    this.#previous[to] = previous;
    this.#list[to] = list + 1;
    this.#start[to] = this.#start[chunk]!;
    this.#end[to] = this.#end[chunk]!;
    if (next === 0) this.#tail[list] = to;
    else this.#previous[next] = to;
    if (previous === 0) this.#head[list] = to;
    else this.#next[previous] = to;
  }

  /** @returns a new last chunk of a list. */
  #extend(list: number): number {
    if (this.#free === 0) this.#grow();
    const chunk = this.#free;
    this.#free = this.#next[chunk]!;
    this.#used += 1;
    const tail = this.#tail[list]!;
    this.#next[chunk] = 0;
    this.#previous[chunk] = tail;
    this.#list[chunk] = list + 1;
    this.#start[chunk] = 0;
    this.#end[chunk] = 0;
    this.#tail[list] = chunk;
    if (tail === 0) this.#head[list] = chunk;
    else this.#next[tail] = chunk;
    return chunk;
  }

  #remove(chunk: number): void {
    const list = this.#list[chunk]! - 1;
    const next = this.#next[chunk]!;
    const previous = this.#previous[chunk]!;
    if (next === 0) this.#tail[list] = previous;
    else this.#previous[next] = previous;
    if (previous === 0) this.#head[list] = next;
    else this.#next[previous] = next;
    this.#list[chunk] = 0;
    this.#next[chunk] = this.#free;
    this.#free = chunk;
    this.#used -= 1;
  }

  #grow(): void {
    const memory = new ArrayBuffer(8 * FLOATS * CHUNK * SEGMENT);
    this.#floats.push(new Float64Array(memory));
    this.#ints.push(new Int32Array(memory));
    const from = this.#chunks;
    this.#chunks += SEGMENT;
    if (this.#chunks > this.#next.length) {
      this.#next = grown(this.#next, new Int32Array(2 * this.#chunks));
      this.#previous = grown(this.#previous, new Int32Array(2 * this.#chunks));
      this.#list = grown(this.#list, new Int32Array(2 * this.#chunks));
      this.#start = grown(this.#start, new Uint8Array(2 * this.#chunks));
      this.#end = grown(this.#end, new Uint8Array(2 * this.#chunks));
    }
    for (let chunk = this.#chunks - 1; chunk >= Math.max(1, from); chunk--) {
      this.#next[chunk] = this.#free;
      this.#free = chunk;
    }
  }
}

function grown<T extends Int32Array | Uint8Array>(before: T, after: T): T {
  after.set(before);
  return after;
}
