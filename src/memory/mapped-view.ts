import type { MemoryView } from './memory-view.js';

if (new Uint8Array(new Uint16Array([1]).buffer)[0] !== 1) {
  throw new Error('virtio-misc runs on little-endian hosts only');
}

/** Up to so many bytes, a copy byte by byte costs less than the subarray that `set` would need. */
const SHORT_COPY = 64;

/** Guest memory that is mapped into this process (or, in tests and over loopback, simply is an ArrayBuffer). */
export class MappedView implements MemoryView {
  readonly length: number;
  readonly #bytes: Uint8Array;
  readonly #words16: Uint16Array;
  readonly #words32: Uint32Array;

  /**
   * @param buffer - the memory; shared with the other side and never copied.
   * @param byteOffset - where the view starts. Values of 2 and 4 bytes can be had (`RangeError` otherwise) only when it
   * is a multiple of their size.
   * @param length - bytes in the view.
   */
  constructor(buffer: ArrayBufferLike, byteOffset = 0, length: number = buffer.byteLength - byteOffset) {
    this.length = length;
    this.#bytes = new Uint8Array(buffer, byteOffset, length);
    this.#words16 =
      byteOffset % 2 === 0 ? new Uint16Array(buffer, byteOffset, Math.floor(length / 2)) : new Uint16Array();
    this.#words32 =
      byteOffset % 4 === 0 ? new Uint32Array(buffer, byteOffset, Math.floor(length / 4)) : new Uint32Array();
  }

  read16(offset: number): number {
    if (!(offset + 2 <= this.length)) outside(offset);
    return this.#words16[offset >>> 1] ?? outside(offset);
  }

  read32(offset: number): number {
    if (!(offset + 4 <= this.length)) outside(offset);
    return this.#words32[offset >>> 2] ?? outside(offset);
  }

  write16(offset: number, value: number): void {
    if (!(offset + 2 <= this.length) || offset >>> 1 >= this.#words16.length) outside(offset);
    this.#words16[offset >>> 1] = value;
  }

  write32(offset: number, value: number): void {
    if (!(offset + 4 <= this.length) || offset >>> 2 >= this.#words32.length) outside(offset);
    this.#words32[offset >>> 2] = value;
  }

  load16(offset: number): number {
    if (!(offset + 2 <= this.length)) outside(offset);
    return Atomics.load(this.#words16, offset >>> 1);
  }

  store16(offset: number, value: number): void {
    if (!(offset + 2 <= this.length)) outside(offset);
    Atomics.store(this.#words16, offset >>> 1, value);
  }

  copyOut(offset: number, into: Uint8Array, start: number, length: number): void {
    this.#check(offset, into, start, length);
    if (length <= SHORT_COPY) for (let i = 0; i < length; i++) into[start + i] = this.#bytes[offset + i]!;
    else into.set(this.#bytes.subarray(offset, offset + length), start);
  }

  copyIn(offset: number, from: Uint8Array, start: number, length: number): void {
    this.#check(offset, from, start, length);
    if (length <= SHORT_COPY) for (let i = 0; i < length; i++) this.#bytes[offset + i] = from[start + i]!;
    else this.#bytes.set(from.subarray(start, start + length), offset);
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
  throw new RangeError(`offset ${offset} is outside this memory view, or not aligned in it`);
}
