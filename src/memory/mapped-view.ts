import type { MemoryView } from './memory-view.js';
import { copyWords, copyWordsIn, copyWordsOut, isShort, LastArray } from './short-copy.js';

if (new Uint8Array(new Uint16Array([1]).buffer)[0] !== 1) {
  throw new Error('virtio-misc runs on little-endian hosts only');
}

/** Guest memory that is mapped into this process (or, in tests and over loopback, simply is an ArrayBuffer). */
export class MappedView implements MemoryView {
  readonly length: number;
  readonly words: Int32Array | undefined;
  readonly #bytes: Uint8Array;
  /** Both empty where the view itself is not aligned to such words. */
  readonly #words16: Uint16Array;
  readonly #words32: Int32Array;
  readonly #unaligned: DataView;
  readonly #lastOut = new LastArray();
  readonly #lastIn = new LastArray();

  /**
   * @param buffer - the memory; shared with the other side and never copied.
   * @param byteOffset - where the view starts. `load16` and `store16` need a multiple of 2, `loadWord` one of 4 (`RangeError` otherwise), and
   * the plain accesses are slower where it is not a multiple of their size.
   * @param length - bytes in the view, at most 4 GiB.
   */
  constructor(buffer: ArrayBufferLike, byteOffset = 0, length: number = buffer.byteLength - byteOffset) {
    if (length > 0x1_0000_0000) throw new RangeError(`a view of ${length} bytes is larger than 4 GiB`);
    this.length = length;
    this.#bytes = new Uint8Array(buffer, byteOffset, length);
    const [odd2, odd4] = [byteOffset % 2, byteOffset % 4];
    this.#words16 = new Uint16Array(buffer, byteOffset - odd2, odd2 === 0 ? Math.floor(length / 2) : 0);
    this.#words32 = new Int32Array(buffer, byteOffset - odd4, odd4 === 0 ? Math.floor(length / 4) : 0);
    this.words = odd4 === 0 ? this.#words32 : undefined;
    this.#unaligned = new DataView(buffer, byteOffset, length);
  }

  // An index that is no integer, or outside, reads `undefined`: so one access checks everything.

  read16(offset: number): number {
    return this.#words16[offset / 2] ?? this.#unaligned.getUint16(whole(offset), true);
  }

  read32(offset: number): number {
    const word = this.#words32[offset / 4];
    return word === undefined ? this.#unaligned.getUint32(whole(offset), true) : word >>> 0;
  }

  write16(offset: number, value: number): void {
    const index = offset / 2;
    if (isIndex(index, this.#words16.length)) this.#words16[index] = value;
    else this.#unaligned.setUint16(whole(offset), value, true);
  }

  write32(offset: number, value: number): void {
    const index = offset / 4;
    if (isIndex(index, this.#words32.length)) this.#words32[index] = value;
    else this.#unaligned.setUint32(whole(offset), value, true);
  }

  load16(offset: number): number {
    return Atomics.load(this.#words16, whole(offset / 2));
  }

  loadWord(offset: number): number {
    return Atomics.load(this.#words32, whole(offset / 4));
  }

  store16(offset: number, value: number): void {
    Atomics.store(this.#words16, whole(offset / 2), value);
  }

  copyOut(offset: number, into: Uint8Array, start: number, length: number): void {
    this.#check(offset, into, start, length);
    if (!isShort(offset, length)) {
      into.set(this.#bytes.subarray(offset, offset + length), start);
      return;
    }
    const words = this.#lastOut.wordsOf(into);
    if (words === undefined) copyWordsOut(this.#unaligned, offset, into, start, length);
    else copyWords(this.#unaligned, offset, words, start, length);
  }

  copyIn(offset: number, from: Uint8Array, start: number, length: number): void {
    this.#check(offset, from, start, length);
    if (!isShort(offset, length)) {
      this.#bytes.set(from.subarray(start, start + length), offset);
      return;
    }
    const words = this.#lastIn.wordsOf(from);
    if (words === undefined) copyWordsIn(this.#unaligned, offset, from, start, length);
    else copyWords(words, start, this.#unaligned, offset, length);
  }

  setBits(offset: number, bits: number): void {
    Atomics.or(this.#bytes, whole(offset), bits);
  }

  takeByte(offset: number): number {
    return Atomics.exchange(this.#bytes, whole(offset), 0);
  }

  slice(offset: number, length: number): MappedView {
    if (!(offset >= 0 && length >= 0 && offset + length <= this.length)) outside(offset);
    return new MappedView(this.#bytes.buffer, this.#bytes.byteOffset + offset, length);
  }

  #check(offset: number, other: Uint8Array, start: number, length: number): void {
    if (!(offset >= 0 && length >= 0 && offset + length <= this.length)) outside(offset);
    if (!(start >= 0 && start + length <= other.length)) {
      throw new RangeError(`bytes ${start} + ${length} are not inside an array of ${other.length}`);
    }
  }
}

function outside(offset: number): never {
  throw new RangeError(`offset ${offset} is outside this memory view`);
}

function isIndex(index: number, length: number): boolean {
  return index >>> 0 === index && index < length;
}

/** A `DataView` or `Atomics` would take a part of a number for the whole. */
function whole(index: number): number {
  // Nearly all are small, and seen to be whole in no time.
  if ((index | 0) !== index && !Number.isInteger(index))
    throw new RangeError(`${index} is no place in a memory view`);
  return index;
}
