import { maskOf, type Piece } from './access.js';

/** A value that is written somewhere. */
export interface Store extends Piece {
  readonly value: number;
}

/** More than there are numbers of anything here: two of them make one safe integer. */
const MANY = 2 ** 26;

/**
 * Every content that the shared memory ever has, by number: the same content has the same number. Each is a tree with a word at each leaf,
 * and trees share their branches.
 */
export class Memories {
  readonly #depth: number;
  readonly #left: number[] = [];
  readonly #right: number[] = [];
  readonly #branches = new Map<number, number>();
  /** Leaves are numbers of words. */
  readonly #words: number[] = [];
  readonly #numbers = new Map<number, number>();
  readonly #stores: Store[] = [];
  readonly #storeNumbers = new Map<string, number>();
  readonly #written = new Map<number, number>();
  /** The number of the first content. */
  readonly first: number;

  constructor(image: Int32Array) {
    this.#depth = Math.ceil(Math.log2(image.length));
    let level = Array.from({ length: 2 ** this.#depth }, (_, i) => this.#leaf(image[i] ?? 0));
    while (level.length > 1) {
      level = Array.from({ length: level.length / 2 }, (_, i) =>
        this.#branch(level[2 * i]!, level[2 * i + 1]!),
      );
    }
    this.first = level[0]!;
  }

  /** The number of a store, for `write` and `storeOf`. */
  numberOf({ offset, length, value }: Store): number {
    const key = `${offset} ${length} ${value}`;
    let number = this.#storeNumbers.get(key);
    if (number === undefined) {
      number = this.#stores.length;
      this.#stores.push({ offset, length, value });
      this.#storeNumbers.set(key, number);
    }
    return number;
  }

  storeOf(number: number): Store {
    return this.#stores[number]!;
  }

  /** The content that comes of another one by a store. */
  write(memory: number, store: number): number {
    const key = memory * MANY + store;
    let next = this.#written.get(key);
    if (next === undefined) {
      const { offset, length, value } = this.#stores[store]!;
      const mask = maskOf({ offset, length });
      const word = (this.wordAt(memory, offset) & ~mask) | ((value << (8 * (offset & 3))) & mask);
      next = this.#put(memory, offset >>> 2, this.#depth, word);
      this.#written.set(key, next);
    }
    return next;
  }

  /** The word that holds this byte. */
  wordAt(memory: number, offset: number): number {
    let node = memory;
    for (let bit = this.#depth - 1; bit >= 0; bit--) {
      node = ((offset >>> (bit + 2)) & 1) === 0 ? this.#left[node]! : this.#right[node]!;
    }
    return this.#words[node]!;
  }

  #put(node: number, index: number, depth: number, word: number): number {
    if (depth === 0) return this.#leaf(word);
    const [left, right] = [this.#left[node]!, this.#right[node]!];
    return ((index >>> (depth - 1)) & 1) === 0
      ? this.#branch(this.#put(left, index, depth - 1, word), right)
      : this.#branch(left, this.#put(right, index, depth - 1, word));
  }

  #leaf(word: number): number {
    let number = this.#numbers.get(word);
    if (number === undefined) {
      number = this.#words.length;
      this.#words.push(word);
      this.#numbers.set(word, number);
    }
    return number;
  }

  #branch(left: number, right: number): number {
    const key = left * MANY + right;
    let number = this.#branches.get(key);
    if (number === undefined) {
      number = this.#left.length;
      this.#left.push(left);
      this.#right.push(right);
      this.#branches.set(key, number);
    }
    return number;
  }
}
