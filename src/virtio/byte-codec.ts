const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Bytes that grow, little-endian; lengths before texts and bytes have 32 bits. */
export class ByteWriter {
  #bytes = new Uint8Array(4096);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** All of them, in an array of their own. */
  slice(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  /** Room for so many that are written later. @returns where. */
  leave(count: number): number {
    const at = this.#take(count);
    this.#bytes.fill(0, at, at + count);
    return at;
  }

  /** To write where room was left; good until more is written. */
  get view(): DataView {
    return this.#view;
  }

  /** From the start again. */
  clear(): void {
    this.#length = 0;
  }

  u8(value: number): void {
    const at = this.#take(1);
    this.#bytes[at] = value;
  }

  le16(value: number): void {
    const at = this.#take(2);
    this.#view.setUint16(at, value, true);
  }

  le32(value: number): void {
    const at = this.#take(4);
    this.#view.setUint32(at, value, true);
  }

  /** @param value - a whole number from 0 to 2^53. */
  le64(value: number): void {
    const whole = Math.floor(value);
    this.le32(whole % 0x1_0000_0000);
    this.le32(Math.floor(whole / 0x1_0000_0000));
  }

  /** 8 bytes, IEEE 754. */
  f64(value: number): void {
    const at = this.#take(8);
    this.#view.setFloat64(at, value, true);
  }

  /** 128 bits. */
  mask(value: bigint): void {
    const at = this.#take(16);
    this.#view.setBigUint64(at, value & 0xffff_ffff_ffff_ffffn, true);
    this.#view.setBigUint64(at + 8, (value >> 64n) & 0xffff_ffff_ffff_ffffn, true);
  }

  bytes(value: Uint8Array): void {
    this.le32(value.length);
    const at = this.#take(value.length);
    this.#bytes.set(value, at);
  }

  text(value: string): void {
    this.bytes(encoder.encode(value));
  }

  /** @returns where there is room for so many more. */
  #take(count: number): number {
    const at = this.#length;
    if (at + count > this.#bytes.length) this.#grow(at + count);
    this.#length = at + count;
    return at;
  }

  #grow(least: number): void {
    const bytes = new Uint8Array(Math.max(least, 2 * this.#bytes.length));
    bytes.set(this.#bytes);
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer);
  }
}

/** Reads what a `ByteWriter` wrote. All of it throws RangeError when it is not there. */
export class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  /** Bytes that were not read yet. */
  get left(): number {
    return this.#bytes.length - this.#at;
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1));
  }

  le16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }

  le32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  le64(): number {
    const low = this.le32();
    return this.le32() * 0x1_0000_0000 + low;
  }

  /** 8 bytes, IEEE 754. */
  f64(): number {
    return this.#view.getFloat64(this.#take(8), true);
  }

  mask(): bigint {
    const at = this.#take(16);
    return this.#view.getBigUint64(at, true) | (this.#view.getBigUint64(at + 8, true) << 64n);
  }

  /** A copy. */
  bytes(): Uint8Array {
    const length = this.le32();
    const at = this.#take(length);
    return this.#bytes.slice(at, at + length);
  }

  text(): string {
    return decoder.decode(this.bytes());
  }

  #take(count: number): number {
    const at = this.#at;
    if (at + count > this.#bytes.length)
      throw new RangeError(`it ends after ${this.#bytes.length} bytes, where more should be`);
    this.#at += count;
    return at;
  }
}
