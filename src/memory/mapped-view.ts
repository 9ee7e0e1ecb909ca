import type { MemoryView } from './memory-view.js';

if (new Uint8Array(new Uint16Array([1]).buffer)[0] !== 1) {
  throw new Error('virtio-misc runs on little-endian hosts only');
}

/** Guest memory that is mapped into this process (or, in tests and over loopback, simply is an ArrayBuffer). */
export class MappedView implements MemoryView {
  readonly length: number;
  readonly #bytes: Uint8Array;
  readonly #words16: Uint16Array;
  readonly #words32: Uint32Array;

  /**
   * @param buffer - the memory; shared with the other side and never copied.
   * @param byteOffset - where the view starts, a multiple of 4.
   * @param length - bytes in the view.
   */
  constructor(buffer: ArrayBufferLike, byteOffset = 0, length: number = buffer.byteLength - byteOffset) {
    this.length = length;
    this.#bytes = new Uint8Array(buffer, byteOffset, length);
    this.#words16 = new Uint16Array(buffer, byteOffset, length >>> 1);
    this.#words32 = new Uint32Array(buffer, byteOffset, Math.floor(length / 4));
  }

  read16(offset: number): number {
    return this.#words16[offset >>> 1] ?? outside(offset);
  }

  read32(offset: number): number {
    return this.#words32[offset >>> 2] ?? outside(offset);
  }

  write16(offset: number, value: number): void {
    if (offset >>> 1 >= this.#words16.length) outside(offset);
    this.#words16[offset >>> 1] = value;
  }

  write32(offset: number, value: number): void {
    if (offset >>> 2 >= this.#words32.length) outside(offset);
    this.#words32[offset >>> 2] = value;
  }

  load16(offset: number): number {
    return Atomics.load(this.#words16, offset >>> 1);
  }

  store16(offset: number, value: number): void {
    Atomics.store(this.#words16, offset >>> 1, value);
  }

  copyOut(offset: number, into: Uint8Array, start: number, length: number): void {
    if (offset + length > this.length || start + length > into.length) outside(offset + length);
    // A short copy byte by byte costs less than the subarray that set() would need.
    if (length <= 64) for (let i = 0; i < length; i++) into[start + i] = this.#bytes[offset + i]!;
    else into.set(this.#bytes.subarray(offset, offset + length), start);
  }

  copyIn(offset: number, from: Uint8Array, start: number, length: number): void {
    if (offset + length > this.length || start + length > from.length) outside(offset + length);
    if (length <= 64) for (let i = 0; i < length; i++) this.#bytes[offset + i] = from[start + i]!;
    else this.#bytes.set(from.subarray(start, start + length), offset);
  }

  slice(offset: number, length: number): MappedView {
    if (offset + length > this.length) outside(offset + length);
    return new MappedView(this.#bytes.buffer, this.#bytes.byteOffset + offset, length);
  }
}

function outside(offset: number): never {
  throw new RangeError(`offset ${offset} is outside this memory view`);
}
