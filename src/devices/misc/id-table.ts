import { IdHash } from './id-hash.js';
import { IdShard } from './id-shard.js';

/** Tables that it is made of. */
const SHARD_BITS = 4;
const SHARDS = 1 << SHARD_BITS;
/** What comes of a place in one of them: its number there, and above it which one it is. */
const PLACE_BITS = 26;
const PLACES = (1 << PLACE_BITS) - 1;

/**
 * A number that is not 0 for each id, for ids of any 32 bits, in 16 bytes an id or more. A guest chooses the ids, so where one lies depends
 * on random numbers that it does not know.
 *
 * It is made of several tables, so that none ever grows for long while others wait.
 */
export class IdTable {
  readonly #hash: IdHash;
  readonly #shards: readonly IdShard[];
  #size = 0;

  /** @param secret - three numbers that decide where ids lie; random unless told. */
  constructor(secret: Int32Array = crypto.getRandomValues(new Int32Array(3))) {
    const hash = new IdHash(secret);
    this.#hash = hash;
    this.#shards = Array.from({ length: SHARDS }, () => new IdShard(hash));
  }

  get size(): number {
    return this.#size;
  }

  /** Bytes that it takes. */
  get bytes(): number {
    return this.#shards.reduce((bytes, shard) => bytes + shard.bytes, 0);
  }

  /** Whether it has far more places than it needs. */
  get hasSpare(): boolean {
    // All grow alike.
    return this.#shards[0]!.hasSpare || this.#shards[SHARDS - 1]!.hasSpare;
  }

  /** @param id - an Int32. @returns its number, or 0. */
  get(id: number): number {
    const hash = this.#hash.of(id);
    const shard = this.#shards[shardOf(hash)]!;
    const place = shard.find(id, hash);
    return place < 0 ? 0 : shard.numberAt(place);
  }

  /** @param id - an Int32. @returns where it is, until the next change, or -1. */
  find(id: number): number {
    const hash = this.#hash.of(id);
    const shard = shardOf(hash);
    const place = this.#shards[shard]!.find(id, hash);
    return place < 0 ? -1 : (shard << PLACE_BITS) | place;
  }

  /** @param place - from `find`. */
  numberAt(place: number): number {
    return this.#shards[place >>> PLACE_BITS]!.numberAt(place & PLACES);
  }

  /** @param id - an Int32. @returns false when it is in the table already. @throws RangeError at some 2^29 ids. */
  add(id: number, number: number): boolean {
    const hash = this.#hash.of(id);
    if (!this.#shards[shardOf(hash)]!.add(id, hash, number)) return false;
    this.#size += 1;
    return true;
  }

  /** @param id - an Int32. @returns whether it was in the table. */
  delete(id: number): boolean {
    const hash = this.#hash.of(id);
    const shard = this.#shards[shardOf(hash)]!;
    const place = shard.find(id, hash);
    if (place < 0) return false;
    shard.deleteAt(place);
    this.#size -= 1;
    return true;
  }

  /** @param place - from `find`. */
  deleteAt(place: number): void {
    this.#shards[place >>> PLACE_BITS]!.deleteAt(place & PLACES);
    this.#size -= 1;
  }

  /** Gives back what it has far too much. */
  trim(): void {
    for (const shard of this.#shards) shard.trim();
  }

  clear(): void {
    for (const shard of this.#shards) shard.clear();
    this.#size = 0;
  }
}

/** Other bits than those that say where in its table an id lies, as long as that has no more than 2^23 places. */
function shardOf(hash: number): number {
  return (hash >>> 4) & (SHARDS - 1);
}
