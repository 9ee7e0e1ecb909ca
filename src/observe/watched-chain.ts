import type { Chain } from '../virtqueue/chain.js';

const NOTHING: Uint8Array<ArrayBuffer> = new Uint8Array();

/**
 * A chain whose bytes are kept, as far as they are wanted. What may be read of it is read once, when it is taken: the device is given the
 * very bytes that others are shown. One object for each head, used again and again.
 */
export class WatchedChain implements Chain {
  inner: Chain;
  /** Which chain of its queue this is. */
  number = 0;
  /** When it was taken, ns. */
  taken = 0;
  /** The device has it. */
  active = false;
  /** The first of the readable bytes. */
  #read: Uint8Array = NOTHING;
  #written: Uint8Array<ArrayBuffer> = NOTHING;
  #keep = 0;

  constructor(inner: Chain) {
    this.inner = inner;
  }

  /**
   * The device takes it.
   *
   * @param keep - bytes to keep of what it writes.
   * @param read - the first of the readable bytes.
   */
  begin(inner: Chain, number: number, taken: number, keep: number, read: Uint8Array): void {
    this.inner = inner;
    this.number = number;
    this.taken = taken;
    this.active = true;
    this.#read = read;
    this.#keep = Math.min(keep, inner.writable);
    this.#written = NOTHING;
  }

  /** Bytes that are kept of it. */
  get kept(): number {
    return this.#read.length + this.#keep;
  }

  /** It was handed back, and told of. */
  end(): void {
    this.active = false;
    this.#read = NOTHING;
    this.#written = NOTHING;
    this.#keep = 0;
  }

  /** It begins anew. */
  rewind(): void {
    this.#written = NOTHING;
  }

  get head(): number {
    return this.inner.head;
  }

  get readable(): number {
    return this.inner.readable;
  }

  get writable(): number {
    return this.inner.writable;
  }

  get consumed(): number {
    return this.inner.consumed;
  }

  get written(): number {
    return this.inner.written;
  }

  /** The first of the bytes that were written into it. */
  get answer(): Uint8Array {
    const length = Math.min(this.written, this.#keep);
    return length === this.#written.length ? this.#written : this.#written.subarray(0, length);
  }

  read(into: Uint8Array, start = 0, length: number = into.length - start): number {
    const from = this.inner.consumed;
    const kept = this.#read;
    if (!(length > 0 && from + length <= kept.length && start >= 0 && start + length <= into.length))
      return this.#readOn(into, start, length);
    this.inner.skip(length);
    // Mostly it is all of it: a view of a part costs more than the bytes of a small one.
    if (from === 0 && length === kept.length) into.set(kept, start);
    else into.set(kept.subarray(from, from + length), start);
    return length;
  }

  /** Partly from what was kept. */
  #readOn(into: Uint8Array, start: number, length: number): number {
    const from = this.inner.consumed;
    const here = Math.min(length, this.#read.length - from);
    if (!(here > 0 && start >= 0 && start + length <= into.length))
      return this.inner.read(into, start, length);
    this.inner.skip(here);
    into.set(this.#read.subarray(from, from + here), start);
    return here + this.inner.read(into, start + here, length - here);
  }

  readRest(): Uint8Array {
    const rest = new Uint8Array(this.inner.readable - this.inner.consumed);
    this.read(rest);
    return rest;
  }

  skip(length: number): number {
    return this.inner.skip(length);
  }

  write(from: Uint8Array, start = 0, length: number = from.length - start): number {
    const at = this.inner.written;
    const count = this.inner.write(from, start, length);
    const here = Math.min(count, this.#keep - at);
    if (here > 0) {
      if (this.#written.length < at + here) this.#grow(at + here);
      this.#written.set(here === from.length ? from : from.subarray(start, start + here), at);
    }
    return count;
  }

  #grow(least: number): void {
    const before = this.#written;
    this.#written = new Uint8Array(Math.min(this.#keep, Math.max(least, 2 * before.length)));
    if (before.length > 0) this.#written.set(before);
  }
}
