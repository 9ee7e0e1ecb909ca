import { maskOf, type Piece } from './access.js';
import type { Memories } from './memories.js';

/** How stores become visible to the other end. */
export type Order =
  /** At once: sequential consistency. */
  | 'sc'
  /** Later, in their order; an end sees its own at once. As x86 has it. */
  | 'tso'
  /** Later, and those to different words in any order: what JavaScript promises of plain stores, and arm64. */
  | 'pso';

/** Every content that a store buffer ever has, by number; 0 is the empty one. */
export class Buffers {
  readonly #memories: Memories;
  readonly #contents: (readonly number[])[] = [[]];
  readonly #numbers = new Map<string, number>([['', 0]]);
  readonly #pushed = new Map<number, number>();

  constructor(memories: Memories) {
    this.#memories = memories;
  }

  /** The stores that are in it, oldest first. */
  contentOf(buffer: number): readonly number[] {
    return this.#contents[buffer]!;
  }

  push(buffer: number, store: number): number {
    const key = buffer * 2 ** 26 + store;
    let number = this.#pushed.get(key);
    if (number === undefined) {
      number = this.#numberOf([...this.#contents[buffer]!, store]);
      this.#pushed.set(key, number);
    }
    return number;
  }

  /** The rest when one has left it. */
  without(buffer: number, index: number): number {
    return this.#numberOf(this.#contents[buffer]!.toSpliced(index, 1));
  }

  /** Whether the one at `index` may leave it now. */
  mayLeave(buffer: number, index: number, order: Order): boolean {
    if (index === 0) return true;
    if (order !== 'pso') return false;
    const content = this.#contents[buffer]!;
    const word = this.#memories.storeOf(content[index]!).offset >>> 2;
    return content.slice(0, index).every((store) => this.#memories.storeOf(store).offset >>> 2 !== word);
  }

  /** What an end reads that has this buffer. */
  read(memory: number, buffer: number, piece: Piece): number {
    let word = this.#memories.wordAt(memory, piece.offset);
    for (const number of this.#contents[buffer]!) {
      const store = this.#memories.storeOf(number);
      if (store.offset >>> 2 !== piece.offset >>> 2) continue;
      const mask = maskOf(store);
      word = (word & ~mask) | ((store.value << (8 * (store.offset & 3))) & mask);
    }
    return (word & maskOf(piece)) >>> (8 * (piece.offset & 3));
  }

  #numberOf(content: readonly number[]): number {
    const key = content.join();
    let number = this.#numbers.get(key);
    if (number === undefined) {
      number = this.#contents.length;
      this.#contents.push(content);
      this.#numbers.set(key, number);
    }
    return number;
  }
}
