/**
 * A fixed stretch of guest memory seen from our side. Offsets and lengths are in bytes from the view's start and
 * must lie inside it (`RangeError` otherwise: whoever holds a view has checked the peer's numbers before).
 *
 * The other side may change every byte at any time, so a value that was checked must not be read again.
 * `read`/`write` are plain; `load`/`store` are sequentially consistent: all reads and writes before a `store` are
 * visible to whoever sees the stored value, and nothing after a `load` happens before it.
 * Multi-byte values are little-endian (VIRTIO 1.3 §1.4) and aligned to their size.
 */
export interface MemoryView {
  /** Bytes in this view. */
  readonly length: number;
  /** It can only be asked for, by messages to the peer. Absent where the memory is shared. */
  readonly remote?: boolean;
  /**
   * The same memory by words, `words[i]` those four bytes at offset `4 * i`, signed: as `read32` and `write32`, for loops over small fields.
   * Absent where the view does not lie aligned and in one piece, or an access takes more than touching the memory.
   */
  readonly words?: Int32Array | undefined;
  read16(offset: number): number;
  read32(offset: number): number;
  write16(offset: number, value: number): void;
  write32(offset: number, value: number): void;
  load16(offset: number): number;
  /** Four bytes at once, signed, as `words` has them. */
  loadWord(offset: number): number;
  store16(offset: number, value: number): void;
  /** Copies `length` bytes out, from `offset` to `into[start]`. */
  copyOut(offset: number, into: Uint8Array, start: number, length: number): void;
  /** Copies `length` bytes in, from `from[start]` to `offset`. */
  copyIn(offset: number, from: Uint8Array, start: number, length: number): void;
  /**
   * Sets bits of a byte that another process may change at the same moment, as one step. Absent, like `takeByte`, where memory is not shared,
   * or who writes to it is noted.
   */
  setBits?(offset: number, bits: number): void;
  /** Reads a byte and makes it 0, as one step. */
  takeByte?(offset: number): number;
  /** Tells whoever hears of what is written here that all of it was. Absent where nobody does. */
  touch?(): void;
  /** The part of this view from `offset`, `length` bytes long. */
  slice(offset: number, length: number): MemoryView;
}
