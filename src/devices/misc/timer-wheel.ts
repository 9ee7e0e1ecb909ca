import { CHUNK, FLOATS, ID, INTERVAL, INTS, NUMBER, TimerLists } from './timer-lists.js';

/** A time is cut into digits of this many bits, from the lowest; each digit has a level of `BUCKETS` lists. */
const BITS = 8;
const BUCKETS = 1 << BITS;
const LEVELS = 8;
/** Lists that are no bucket: what is due, in order, and what no clock gets to. */
export const DUE: number = LEVELS * BUCKETS;
export const NEVER: number = DUE + 1;
/** Chunks that are put in order at once when all that is in them is due, and the levels of whose buckets all times are small enough for that. */
const SORTED = 8;
const SORTED_LEVELS = 5;
/** The end of time: CLOCK_MONOTONIC is a signed 64-bit number of ns. */
const END = 2 ** 63;

/**
 * Timers in deadline order, equal ones in the order in which they were put in. Times are whole nanoseconds.
 *
 * A timing wheel without ticks. A timer lies in the bucket of the highest digit in which its deadline differs from `#last`, a time that
 * has come already. So equal deadlines are always in one list, and the first bucket of the lowest level that has any holds the next one.
 * When that has come, a bucket of one chunk is put in order, a longer one is spread over the levels below. Each timer moves at most once
 * for each level, and all lists keep their order.
 */
export class TimerWheel {
  readonly lists: TimerLists = new TimerLists(NEVER + 1);
  /** By bucket: the least deadline in it, or less where that timer is gone. */
  readonly #least = new Float64Array(LEVELS * BUCKETS);
  /** What the digits of all deadlines differ from, in halves. Not later than any deadline. */
  #lastHigh = 0;
  #lastLow = 0;
  /** The bucket that is being spread, and its first time, which is the next `#last`; -1 when there is none. */
  #spreading = -1;
  #nextHigh = 0;
  #nextLow = 0;
  /** A bit for each bucket with timers, how many of these a level has, and a bit for each level with any. */
  readonly #used = new Int32Array((LEVELS * BUCKETS) / 32);
  readonly #usedOf = new Int32Array(LEVELS);
  #levels = 0;
  /** Entries of a chunk in deadline order. */
  readonly #order = new Uint8Array(CHUNK);
  /** Timers of a bucket that is put in order: how long after its begin each is due, with its index; and where each index lies. */
  readonly #keys = new Float64Array(SORTED * CHUNK);
  readonly #lies = new Int32Array(SORTED * CHUNK);

  /** Bytes that it takes. */
  get bytes(): number {
    return this.lists.bytes + this.#least.byteLength;
  }

  /** The earliest deadline of those that are not due, or less where that timer is gone; Infinity when there is none. */
  get next(): number {
    if (this.#spreading >= 0) return time(this.#nextHigh, this.#nextLow);
    return this.#levels === 0 ? Infinity : this.#least[this.#first()]!;
  }

  /** The chunk of the next deadlines, if there is one that has all of them; else 0. */
  get nextChunk(): number {
    if (this.#spreading >= 0 || this.#levels === 0) return 0;
    const bucket = this.#first();
    return this.lists.isShort(bucket) ? this.lists.first(bucket) : 0;
  }

  /** @param deadline - whole ns, not before the `now` of any earlier `expire`. */
  add(deadline: number, interval: number, id: number, number: number): void {
    if (deadline < END) {
      const least =
        this.#spreading < 0 ? time(this.#lastHigh, this.#lastLow) : time(this.#nextHigh, this.#nextLow);
      const then = Math.max(deadline, least);
      this.lists.append(this.#bucketOf(then, this.#lastHigh, this.#lastLow), then, interval, id, number);
    } else {
      this.lists.append(NEVER, deadline, interval, id, number);
    }
  }

  /**
   * Goes on until some timers more are due, or none is, or the work is done.
   *
   * @param now - not before any earlier one.
   * @param work - how many timers may be looked at, about.
   * @returns what is left of that; 0 or less when there may be more that is due.
   */
  expire(now: number, work: number): number {
    let left = work;
    while (left > 0) {
      if (this.#spreading < 0) {
        if (this.#levels === 0) {
          this.#lastHigh = high(Math.min(now, END / 2));
          this.#lastLow = low(Math.min(now, END / 2));
          return left;
        }
        const bucket = this.#first();
        if (this.#least[bucket]! > now) return left;
        if (this.lists.isShort(bucket)) {
          left -= CHUNK;
          if (this.#takeChunk(bucket, now)) return left;
          continue;
        }
        if (bucket < BUCKETS) {
          this.lists.moveAll(bucket, DUE);
          this.#markEmpty(bucket);
          return left - CHUNK;
        }
        this.#beginSpreading(bucket);
        if (this.#isOver(bucket, now)) {
          const count = this.lists.count(bucket, SORTED);
          if (count !== Infinity) {
            this.#takeAll(bucket, count);
            return left - count;
          }
        }
      }
      left -= this.#goOnSpreading(left);
    }
    return left;
  }

  /** Forgets all timers. Times that have come have come. */
  clear(): void {
    this.lists.clear();
    this.#spreading = -1;
    this.#used.fill(0);
    this.#usedOf.fill(0);
    this.#levels = 0;
  }

  /** Keeps the entries of a chunk whose bits are set. */
  keep(chunk: number, entries: number): void {
    const list = this.lists.listOf(chunk);
    if (this.lists.keep(chunk, entries)) {
      this.lists.join(chunk);
      if (list < DUE && this.lists.isShort(list)) this.#lookAgain(list);
    } else {
      this.#noticeEmpty(list);
    }
  }

  /** The bucket of a deadline as seen from a time that has come, which is marked as used. */
  #bucketOf(deadline: number, lastHigh: number, lastLow: number): number {
    const differs = high(deadline) ^ lastHigh;
    let level: number;
    let digit: number;
    if (differs !== 0) {
      const above = (31 - Math.clz32(differs)) >>> 3;
      level = 4 + above;
      digit = (high(deadline) >>> (above << 3)) & (BUCKETS - 1);
    } else {
      level = (31 - Math.clz32((low(deadline) ^ lastLow) | 1)) >>> 3;
      digit = (low(deadline) >>> (level << 3)) & (BUCKETS - 1);
    }
    const bucket = (level << BITS) | digit;
    if ((this.#used[bucket >>> 5]! & (1 << (bucket & 31))) === 0) {
      this.#used[bucket >>> 5]! |= 1 << (bucket & 31);
      this.#usedOf[level]! += 1;
      this.#levels |= 1 << level;
      this.#least[bucket] = deadline;
    } else if (deadline < this.#least[bucket]!) {
      this.#least[bucket] = deadline;
    }
    return bucket;
  }

  #noticeEmpty(list: number): void {
    if (list < DUE && this.lists.isEmpty(list)) this.#markEmpty(list);
  }

  #markEmpty(bucket: number): void {
    const level = bucket >>> BITS;
    this.#used[bucket >>> 5]! &= ~(1 << (bucket & 31));
    this.#usedOf[level]! -= 1;
    if (this.#usedOf[level] === 0) this.#levels &= ~(1 << level);
  }

  #first(): number {
    const level = lowestBit(this.#levels);
    let word = level * (BUCKETS / 32);
    while (this.#used[word] === 0) word += 1;
    return 32 * word + lowestBit(this.#used[word]!);
  }

  /** Finds the least deadline of a bucket of one chunk. */
  #lookAgain(bucket: number): void {
    const { lists } = this;
    const chunk = lists.first(bucket);
    const floats = lists.floatsOf(chunk);
    const base = lists.base(chunk);
    let least = Infinity;
    for (let entry = lists.start(chunk); entry < lists.end(chunk); entry++) {
      least = Math.min(least, floats[FLOATS * (base + entry)]!);
    }
    this.#least[bucket] = least;
  }

  /** Takes what is due out of a bucket of one chunk. @returns whether anything was. */
  #takeChunk(bucket: number, now: number): boolean {
    const { lists } = this;
    const order = this.#order;
    const chunk = lists.first(bucket);
    const end = lists.end(chunk);
    const floats = lists.floatsOf(chunk);
    const ints = lists.intsOf(chunk);
    const base = lists.base(chunk);
    let count = 0;
    let rest = 0;
    for (let entry = lists.start(chunk); entry < end; entry++) {
      const deadline = floats[FLOATS * (base + entry)]!;
      if (deadline > now) {
        rest |= 1 << entry;
        continue;
      }
      let place = count;
      while (place > 0 && floats[FLOATS * (base + order[place - 1]!)]! > deadline) {
        order[place] = order[place - 1]!;
        place -= 1;
      }
      order[place] = entry;
      count += 1;
    }
    for (let i = 0; i < count; i++) {
      const at = base + order[i]!;
      lists.append(
        DUE,
        floats[FLOATS * at]!,
        floats[FLOATS * at + INTERVAL]!,
        ints[INTS * at + ID]!,
        ints[INTS * at + NUMBER]!,
      );
    }
    if (rest === 0) {
      lists.dropBefore(chunk, end);
      this.#markEmpty(bucket);
    } else {
      if (count > 0) lists.keep(chunk, rest);
      this.#lookAgain(bucket);
    }
    return count > 0;
  }

  #beginSpreading(bucket: number): void {
    const level = bucket >>> BITS;
    const digit = bucket & (BUCKETS - 1);
    this.#spreading = bucket;
    const at = BITS * (level & 3);
    const before = level >= 4 ? this.#lastHigh : this.#lastLow;
    const cut = (((before >>> at) & ~(BUCKETS - 1)) | digit) << at;
    this.#nextHigh = level >= 4 ? cut : this.#lastHigh;
    this.#nextLow = level >= 4 ? 0 : cut;
  }

  /** Whether all times of the bucket that is to be spread have come. */
  #isOver(bucket: number, now: number): boolean {
    const level = bucket >>> BITS;
    return level < SORTED_LEVELS && time(this.#nextHigh, this.#nextLow) + 2 ** (BITS * level) <= now;
  }

  /** Takes all out of the bucket that is to be spread, in order. */
  #takeAll(bucket: number, count: number): void {
    const { lists } = this;
    const keys = this.#keys;
    const lies = this.#lies;
    const begin = time(this.#nextHigh, this.#nextLow);
    let index = 0;
    for (let chunk = lists.first(bucket); chunk !== 0; chunk = lists.after(chunk)) {
      const floats = lists.floatsOf(chunk);
      const base = lists.base(chunk);
      const end = lists.end(chunk);
      for (let entry = lists.start(chunk); entry < end; entry++) {
        keys[index] = (floats[FLOATS * (base + entry)]! - begin) * (SORTED * CHUNK) + index;
        lies[index] = chunk * CHUNK + entry;
        index += 1;
      }
    }
    keys.subarray(0, count).sort();
    for (let i = 0; i < count; i++) {
      const place = lies[keys[i]! & (SORTED * CHUNK - 1)]!;
      const chunk = Math.floor(place / CHUNK);
      const at = lists.base(chunk) + (place & (CHUNK - 1));
      const floats = lists.floatsOf(chunk);
      const ints = lists.intsOf(chunk);
      lists.append(
        DUE,
        floats[FLOATS * at]!,
        floats[FLOATS * at + INTERVAL]!,
        ints[INTS * at + ID]!,
        ints[INTS * at + NUMBER]!,
      );
    }
    for (let chunk = lists.first(bucket); chunk !== 0; chunk = lists.first(bucket)) {
      lists.dropBefore(chunk, lists.end(chunk));
    }
    this.#markEmpty(bucket);
    this.#endSpreading();
  }

  #endSpreading(): void {
    this.#lastHigh = this.#nextHigh;
    this.#lastLow = this.#nextLow;
    this.#spreading = -1;
  }

  /** Spreads whole chunks. @returns how many timers moved, about. */
  #goOnSpreading(most: number): number {
    const { lists } = this;
    const bucket = this.#spreading;
    let work = 0;
    for (let chunk = lists.first(bucket); chunk !== 0 && work < most; chunk = lists.first(bucket)) {
      const end = lists.end(chunk);
      const floats = lists.floatsOf(chunk);
      const ints = lists.intsOf(chunk);
      const base = lists.base(chunk);
      for (let at = base + lists.start(chunk); at < base + end; at++) {
        const deadline = floats[FLOATS * at]!;
        const to = this.#bucketOf(deadline, this.#nextHigh, this.#nextLow);
        lists.append(
          to,
          deadline,
          floats[FLOATS * at + INTERVAL]!,
          ints[INTS * at + ID]!,
          ints[INTS * at + NUMBER]!,
        );
      }
      work += CHUNK;
      lists.dropBefore(chunk, end);
      this.#noticeEmpty(bucket);
    }
    if (lists.isEmpty(bucket)) this.#endSpreading();
    return work + 1;
  }
}

/** The halves of a time below 2^63. */
function high(time: number): number {
  return (time * 2 ** -32) | 0;
}

function low(time: number): number {
  return time | 0;
}

function time(high: number, low: number): number {
  return high * 2 ** 32 + (low >>> 0);
}

/** @param bits - not 0. */
function lowestBit(bits: number): number {
  return 31 - Math.clz32(bits & -bits);
}
