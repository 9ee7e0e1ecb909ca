import type { IdHash } from './id-hash.js';

/** Places that a table has at first. */
const FEWEST = 32;
/** What it keeps once it had so many, empty or not: 8 KiB. */
const KEPT = 2 ** 10;
/** The most: the number of a place, and which table it is in, are together no more than a small integer. */
const MOST = 2 ** 26;
/** 8 places are one line of a cache. */
const COLUMN_BITS = 3;
const TOGETHER = (1 << COLUMN_BITS) - 1;

/**
 * One of the tables that an `IdTable` is made of: open addressing with linear probing, at most half full. Where an id lies its hash
 * says, which comes with it.
 *
 * Places are counted down the columns of a table with 8 places a line. So ids that follow each other are in one line, and when two such
 * groups meet, each id of the second is found in the line below and not behind all of the first.
 */
export class IdShard {
  /** For each place the id and its number; where that is 0 the place is empty. Line by line. */
  #places = new Int32Array(0);
  #mask = -1;
  #lineBits = 0;
  #size = 0;
  readonly #hash: IdHash;

  constructor(hash: IdHash) {
    this.#hash = hash;
  }

  get size(): number {
    return this.#size;
  }

  /** Bytes that it takes. */
  get bytes(): number {
    return this.#places.byteLength;
  }

  /** Whether it has far more places than it needs. */
  get hasSpare(): boolean {
    return this.#mask >= KEPT && this.#size * 16 < this.#mask;
  }

  /** @returns where it is, until the next change, or -1. */
  find(id: number, hash: number): number {
    const places = this.#places;
    const mask = this.#mask;
    const lineBits = this.#lineBits;
    if (mask < 0) return -1;
    for (let place = home(id, hash, lineBits); ; place = (place + 1) & mask) {
      const at = index(place, lineBits);
      if (places[at + 1] === 0) return -1;
      if (places[at] === id) return place;
    }
  }

  /** @param place - from `find`. */
  numberAt(place: number): number {
    return this.#places[index(place, this.#lineBits) + 1]!;
  }

  /** @returns false when it is in the table already. @throws RangeError at 2^25 ids. */
  add(id: number, hash: number, number: number): boolean {
    if (2 * this.#size > this.#mask) this.#resize(this.#size + 1);
    const places = this.#places;
    const mask = this.#mask;
    const lineBits = this.#lineBits;
    let place = home(id, hash, lineBits);
    let at = index(place, lineBits);
    while (places[at + 1] !== 0) {
      if (places[at] === id) return false;
      place = (place + 1) & mask;
      at = index(place, lineBits);
    }
    places[at] = id;
    places[at + 1] = number;
    this.#size += 1;
    return true;
  }

  /** @param place - from `find`. */
  deleteAt(place: number): void {
    this.#close(place);
    this.#size -= 1;
  }

  /** Gives back what it has far too much. */
  trim(): void {
    if (this.hasSpare) this.#resize(Math.max(2 * this.#size, KEPT / 2));
  }

  clear(): void {
    this.#places = new Int32Array(0);
    this.#mask = -1;
    this.#size = 0;
  }

  #resize(size: number): void {
    const bits = 32 - Math.clz32(Math.max(FEWEST, 2 * size) - 1);
    if (2 ** bits > MOST) throw new RangeError(`${size} ids are more than there is room for`);
    const before = this.#places;
    this.#places = new Int32Array(2 ** (bits + 1));
    this.#mask = 2 ** bits - 1;
    this.#lineBits = bits - COLUMN_BITS;
    for (let at = 0; at < before.length; at += 2) {
      const number = before[at + 1]!;
      if (number !== 0) this.#put(before[at]!, number);
    }
  }

  #put(id: number, number: number): void {
    const places = this.#places;
    const lineBits = this.#lineBits;
    let place = home(id, this.#hash.of(id), lineBits);
    while (places[index(place, lineBits) + 1] !== 0) place = (place + 1) & this.#mask;
    places[index(place, lineBits)] = id;
    places[index(place, lineBits) + 1] = number;
  }

  /** Empties a place: what was pushed past it moves up, so that no search ends too early and no mark is left behind. */
  #close(place: number): void {
    const places = this.#places;
    const mask = this.#mask;
    const lineBits = this.#lineBits;
    let gap = place;
    for (let next = (gap + 1) & mask; ; next = (next + 1) & mask) {
      const at = index(next, lineBits);
      if (places[at + 1] === 0) break;
      const id = places[at]!;
      const away = (next - home(id, this.#hash.of(id), lineBits)) & mask;
      if (away < ((next - gap) & mask)) continue;
      const to = index(gap, lineBits);
      places[to] = places[at]!;
      places[to + 1] = places[at + 1]!;
      gap = next;
    }
    places[index(gap, lineBits) + 1] = 0;
  }
}

/** The place where the search for an id begins. Most of a hash is in its upper bits. */
function home(id: number, hash: number, lineBits: number): number {
  return (((id ^ (hash >>> 1)) & TOGETHER) << lineBits) | (hash >>> (32 - lineBits));
}

/** Where in the array a place is. */
function index(place: number, lineBits: number): number {
  return ((place & ((1 << lineBits) - 1)) << (COLUMN_BITS + 1)) | ((place >>> lineBits) << 1);
}
