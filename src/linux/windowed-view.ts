import type { MappedView } from '../memory/mapped-view.js';
import type { MemoryView } from '../memory/memory-view.js';

/** Bytes from one window's start to the next one's. */
export const WINDOW: number = 2 ** 30;

/** Bytes that a window shares with the next one, so that any slice up to this size lies within one. */
export const OVERLAP: number = 2 ** 20;

/** Memory too large for one ArrayBuffer. */
export class WindowedView implements MemoryView {
  readonly length: number;
  readonly #windows: readonly MappedView[];
  readonly #start: number;

  /**
   * @param windows - each starts `WINDOW` bytes after the one before and reaches `OVERLAP` bytes into the next.
   * @param start - where the view starts, in bytes from the first window's start.
   */
  constructor(windows: readonly MappedView[], start: number, length: number) {
    this.length = length;
    this.#windows = windows;
    this.#start = start;
  }

  read16(offset: number): number {
    const at = this.#at(offset, 2);
    return this.#window(at).read16(at % WINDOW);
  }

  read32(offset: number): number {
    const at = this.#at(offset, 4);
    return this.#window(at).read32(at % WINDOW);
  }

  write16(offset: number, value: number): void {
    const at = this.#at(offset, 2);
    this.#window(at).write16(at % WINDOW, value);
  }

  write32(offset: number, value: number): void {
    const at = this.#at(offset, 4);
    this.#window(at).write32(at % WINDOW, value);
  }

  load16(offset: number): number {
    const at = this.#at(offset, 2);
    return this.#window(at).load16(at % WINDOW);
  }

  store16(offset: number, value: number): void {
    const at = this.#at(offset, 2);
    this.#window(at).store16(at % WINDOW, value);
  }

  copyOut(offset: number, into: Uint8Array, start: number, length: number): void {
    this.#eachPiece(offset, length, (window, at, done, size) => window.copyOut(at, into, start + done, size));
  }

  copyIn(offset: number, from: Uint8Array, start: number, length: number): void {
    this.#eachPiece(offset, length, (window, at, done, size) => window.copyIn(at, from, start + done, size));
  }

  slice(offset: number, length: number): MemoryView {
    const at = this.#at(offset, length);
    const window = this.#windows[Math.floor(at / WINDOW)];
    if (window && (at % WINDOW) + length <= window.length) return window.slice(at % WINDOW, length);
    return new WindowedView(this.#windows, at, length);
  }

  #eachPiece(
    offset: number,
    length: number,
    copy: (window: MappedView, at: number, done: number, size: number) => void,
  ): void {
    const from = this.#at(offset, length);
    for (let done = 0; done < length; ) {
      const at = (from + done) % WINDOW;
      const size = Math.min(length - done, WINDOW - at);
      copy(this.#window(from + done), at, done, size);
      done += size;
    }
  }

  /** @returns bytes from the first window's start. */
  #at(offset: number, size: number): number {
    if (!(offset >= 0 && size >= 0 && offset + size <= this.length)) {
      throw new RangeError(`offset ${offset} is outside this memory view`);
    }
    return this.#start + offset;
  }

  #window(at: number): MappedView {
    return this.#windows[Math.floor(at / WINDOW)]!;
  }
}
