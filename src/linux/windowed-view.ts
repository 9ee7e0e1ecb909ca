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
    const index = windowAt(at);
    return this.#windows[index]!.read16(at - index * WINDOW);
  }

  read32(offset: number): number {
    const at = this.#at(offset, 4);
    const index = windowAt(at);
    return this.#windows[index]!.read32(at - index * WINDOW);
  }

  write16(offset: number, value: number): void {
    const at = this.#at(offset, 2);
    const index = windowAt(at);
    this.#windows[index]!.write16(at - index * WINDOW, value);
  }

  write32(offset: number, value: number): void {
    const at = this.#at(offset, 4);
    const index = windowAt(at);
    this.#windows[index]!.write32(at - index * WINDOW, value);
  }

  load16(offset: number): number {
    const at = this.#at(offset, 2);
    const index = windowAt(at);
    return this.#windows[index]!.load16(at - index * WINDOW);
  }

  store16(offset: number, value: number): void {
    const at = this.#at(offset, 2);
    const index = windowAt(at);
    this.#windows[index]!.store16(at - index * WINDOW, value);
  }

  copyOut(offset: number, into: Uint8Array, start: number, length: number): void {
    let at = this.#at(offset, length);
    for (let done = 0; done < length; ) {
      const index = windowAt(at);
      const size = Math.min(length - done, (index + 1) * WINDOW - at);
      this.#windows[index]!.copyOut(at - index * WINDOW, into, start + done, size);
      done += size;
      at += size;
    }
  }

  copyIn(offset: number, from: Uint8Array, start: number, length: number): void {
    let at = this.#at(offset, length);
    for (let done = 0; done < length; ) {
      const index = windowAt(at);
      const size = Math.min(length - done, (index + 1) * WINDOW - at);
      this.#windows[index]!.copyIn(at - index * WINDOW, from, start + done, size);
      done += size;
      at += size;
    }
  }

  slice(offset: number, length: number): MemoryView {
    const at = this.#at(offset, length);
    const index = windowAt(at);
    const window = this.#windows[index];
    const start = at - index * WINDOW;
    if (window && start + length <= window.length) return window.slice(start, length);
    return new WindowedView(this.#windows, at, length);
  }

  /** @returns bytes from the first window's start. */
  #at(offset: number, size: number): number {
    if (!(offset >= 0 && size >= 0 && offset + size <= this.length)) {
      throw new RangeError(`offset ${offset} is outside this memory view`);
    }
    return this.#start + offset;
  }
}

function windowAt(at: number): number {
  return Math.floor(at / WINDOW);
}
