/** Places that a table has at first. */
const FEWEST = 64;
/** The most: an `Int32Array` of two numbers for each can still be had. */
const MOST = 2 ** 29;
/** Ids that follow each other lie together as far as their lowest bits go: 8 places are one line of a cache. */
const TOGETHER = 7;

/**
 * A number that is not 0 for each id, for ids of any 32 bits: an open-addressing table with linear probing, at most half full, in 16 to 64
 * bytes an id. A guest chooses the ids, so where one lies depends on random numbers that it does not know.
 */
export class IdTable {
  /** For each place the id and its number; where that is 0 the place is empty. */
  #places = new Int32Array(0);
  #mask = -1;
  #shift = 32;
  #size = 0;
  readonly #flip: number;
  readonly #first: number;
  readonly #second: number;

  /** @param secret - three numbers that decide where ids lie; random unless told. */
  constructor(secret: Int32Array = crypto.getRandomValues(new Int32Array(3))) {
    const [flip, first, second] = secret;
    this.#flip = flip!;
    this.#first = first! | 1;
    this.#second = second! | 1;
  }

  get size(): number {
    return this.#size;
  }

  /** Bytes that it takes. */
  get bytes(): number {
    return this.#places.byteLength;
  }

  /** @param id - an Int32. @returns its number, or 0. */
  get(id: number): number {
    const place = this.find(id);
    return place < 0 ? 0 : this.#places[2 * place + 1]!;
  }

  /** @param id - an Int32. @returns where it is, until the next change, or -1. */
  find(id: number): number {
    const places = this.#places;
    const mask = this.#mask;
    if (mask < 0) return -1;
    for (let place = this.#home(id); places[2 * place + 1] !== 0; place = (place + 1) & mask) {
      if (places[2 * place] === id) return place;
    }
    return -1;
  }

  /** @param place - from `find`. */
  numberAt(place: number): number {
    return this.#places[2 * place + 1]!;
  }

  /** @param id - an Int32. @returns false when it is in the table already. @throws RangeError at 2^28 ids. */
  add(id: number, number: number): boolean {
    if (2 * this.#size > this.#mask) this.#resize(this.#size + 1);
    const places = this.#places;
    const mask = this.#mask;
    let place = this.#home(id);
    while (places[2 * place + 1] !== 0) {
      if (places[2 * place] === id) return false;
      place = (place + 1) & mask;
    }
    places[2 * place] = id;
    places[2 * place + 1] = number;
    this.#size += 1;
    return true;
  }

  /** @param id - an Int32. @returns whether it was in the table. */
  delete(id: number): boolean {
    const place = this.find(id);
    if (place >= 0) this.deleteAt(place);
    return place >= 0;
  }

  /** @param place - from `find`. */
  deleteAt(place: number): void {
    this.#close(place);
    this.#size -= 1;
    if (this.#size * 16 < this.#mask && this.#mask >= FEWEST) this.#resize(2 * this.#size);
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
    this.#shift = 32 - bits;
    for (let at = 0; at < before.length; at += 2) {
      const number = before[at + 1]!;
      if (number !== 0) this.#put(before[at]!, number);
    }
  }

  /** The place where the search for an id begins. Most of a hash is in its upper bits. */
  #home(id: number): number {
    const mixed = Math.imul((id | TOGETHER) ^ this.#flip, this.#first);
    const hash = Math.imul(mixed ^ (mixed >>> 15), this.#second);
    return ((Math.imul(hash ^ (hash >>> 16), this.#first) >>> this.#shift) & ~TOGETHER) | (id & TOGETHER);
  }

  #put(id: number, number: number): void {
    const places = this.#places;
    let place = this.#home(id);
    while (places[2 * place + 1] !== 0) place = (place + 1) & this.#mask;
    places[2 * place] = id;
    places[2 * place + 1] = number;
  }

  /** Empties a place: what was pushed past it moves up, so that no search ends too early and no mark is left behind. */
  #close(gap: number): void {
    const places = this.#places;
    const mask = this.#mask;
    for (let place = (gap + 1) & mask; places[2 * place + 1] !== 0; place = (place + 1) & mask) {
      const away = (place - this.#home(places[2 * place]!)) & mask;
      if (away < ((place - gap) & mask)) continue;
      places[2 * gap] = places[2 * place]!;
      places[2 * gap + 1] = places[2 * place + 1]!;
      gap = place;
    }
    places[2 * gap + 1] = 0;
  }
}
