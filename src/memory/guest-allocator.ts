import type { GuestAddress } from './address.js';

/** A stretch of guest memory: what one descriptor names. */
export interface GuestBuffer {
  readonly address: GuestAddress;
  /** Bytes. */
  readonly length: number;
}

/**
 * Divides a range of guest memory up, for a driver: first fit, with neighbours joined again when they are freed. It knows
 * addresses only and never touches the memory.
 */
export class GuestAllocator {
  /** What is free, by ascending address; no two of them touch. */
  readonly #free: { start: number; length: number }[];
  /** Lengths of what was handed out, by address. */
  readonly #taken = new Map<number, number>();

  /** @param length - bytes of the range, from `start` on. */
  constructor(start: GuestAddress, length: number) {
    if (!(Number.isSafeInteger(start + length) && start >= 0 && length > 0)) {
      throw new RangeError(`${start} + ${length} bytes is no range of guest memory`);
    }
    this.#free = [{ start, length }];
  }

  /** Bytes that are free, possibly in pieces. */
  get available(): number {
    return this.#free.reduce((sum, piece) => sum + piece.length, 0);
  }

  /**
   * @param length - bytes, at least 1.
   * @param alignment - what the address is a multiple of: a power of two.
   * @throws RangeError when there is no piece that large.
   */
  alloc(length: number, alignment = 16): GuestBuffer {
    if (!(Number.isSafeInteger(length) && length > 0)) throw new RangeError(`can't allocate ${length} bytes`);
    if (!(alignment >= 1 && Number.isInteger(Math.log2(alignment)))) {
      throw new RangeError(`alignment ${alignment} is no power of two`);
    }
    for (const [i, piece] of this.#free.entries()) {
      const address = Math.ceil(piece.start / alignment) * alignment;
      const before = address - piece.start;
      const after = piece.length - before - length;
      if (after < 0) continue;
      const rest = [];
      if (before > 0) rest.push({ start: piece.start, length: before });
      if (after > 0) rest.push({ start: address + length, length: after });
      this.#free.splice(i, 1, ...rest);
      this.#taken.set(address, length);
      return { address: address as GuestAddress, length };
    }
    throw new RangeError(
      `no ${length} bytes of guest memory are free in one piece, of ${this.available} in all`,
    );
  }

  /** @throws TypeError when the buffer was not handed out here, or was freed already. */
  free({ address, length }: GuestBuffer): void {
    if (this.#taken.get(address) !== length) {
      throw new TypeError(`0x${address.toString(16)} + ${length} bytes is not allocated`);
    }
    this.#taken.delete(address);
    const found = this.#free.findIndex((piece) => piece.start > address);
    const i = found === -1 ? this.#free.length : found;
    this.#free.splice(i, 0, { start: address, length });
    this.#join(i);
    this.#join(i - 1);
  }

  /** Joins the piece at `i` with the next one where they touch. */
  #join(i: number): void {
    const piece = this.#free[i];
    const next = this.#free[i + 1];
    if (piece === undefined || next === undefined || piece.start + piece.length !== next.start) return;
    piece.length += next.length;
    this.#free.splice(i + 1, 1);
  }
}
