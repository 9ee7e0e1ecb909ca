import { MappedView } from '../memory/mapped-view.js';
import type { MemoryView } from '../memory/memory-view.js';
import { OVERLAP, WINDOW, type Windows } from './windows.js';

/** Memory too large for one ArrayBuffer, or large enough to wait with it. */
export class WindowedView implements MemoryView {
  readonly length: number;
  readonly #windows: Windows;
  readonly #start: number;
  /** All of it, once it is open and lies in one window. */
  #whole: MappedView | undefined;

  /** @param start - where the view starts, in bytes from the first window's start. */
  constructor(windows: Windows, start: number, length: number) {
    this.length = length;
    this.#windows = windows;
    this.#start = start;
  }

  get words(): Int32Array | undefined {
    return this.#whole?.words;
  }

  read16(offset: number): number {
    if (this.#whole !== undefined) return this.#whole.read16(offset);
    const at = this.#at(offset, 2);
    return this.#window(at)?.read16(at % WINDOW) ?? this.#windows.read(at, 2);
  }

  read32(offset: number): number {
    if (this.#whole !== undefined) return this.#whole.read32(offset);
    const at = this.#at(offset, 4);
    return this.#window(at)?.read32(at % WINDOW) ?? this.#windows.read(at, 4);
  }

  write16(offset: number, value: number): void {
    if (this.#whole !== undefined) {
      this.#whole.write16(offset, value);
      return;
    }
    const at = this.#at(offset, 2);
    const window = this.#window(at);
    if (window === undefined) this.#windows.write(at, 2, value);
    else window.write16(at % WINDOW, value);
  }

  write32(offset: number, value: number): void {
    if (this.#whole !== undefined) {
      this.#whole.write32(offset, value);
      return;
    }
    const at = this.#at(offset, 4);
    const window = this.#window(at);
    if (window === undefined) this.#windows.write(at, 4, value);
    else window.write32(at % WINDOW, value);
  }

  // To be ordered takes a window.

  load16(offset: number): number {
    const at = this.#at(offset, 2);
    return this.#windows.opened(windowAt(at))?.load16(at % WINDOW) ?? 0;
  }

  loadWord(offset: number): number {
    const at = this.#at(offset, 4);
    return this.#windows.opened(windowAt(at))?.loadWord(at % WINDOW) ?? 0;
  }

  store16(offset: number, value: number): void {
    const at = this.#at(offset, 2);
    this.#windows.opened(windowAt(at))?.store16(at % WINDOW, value);
  }

  setBits(offset: number, bits: number): void {
    const at = this.#at(offset, 1);
    this.#windows.opened(windowAt(at))?.setBits(at % WINDOW, bits);
  }

  takeByte(offset: number): number {
    const at = this.#at(offset, 1);
    return this.#windows.opened(windowAt(at))?.takeByte(at % WINDOW) ?? 0;
  }

  copyOut(offset: number, into: Uint8Array, start: number, length: number): void {
    if (this.#whole !== undefined) {
      this.#whole.copyOut(offset, into, start, length);
      return;
    }
    let at = this.#at(offset, length);
    for (let done = 0; done < length; ) {
      const size = Math.min(length - done, WINDOW - (at % WINDOW));
      const window = this.#window(at);
      if (window === undefined) this.#windows.copyOut(at, into, start + done, size);
      else window.copyOut(at % WINDOW, into, start + done, size);
      done += size;
      at += size;
    }
  }

  copyIn(offset: number, from: Uint8Array, start: number, length: number): void {
    if (this.#whole !== undefined) {
      this.#whole.copyIn(offset, from, start, length);
      return;
    }
    let at = this.#at(offset, length);
    for (let done = 0; done < length; ) {
      const size = Math.min(length - done, WINDOW - (at % WINDOW));
      const window = this.#window(at);
      if (window === undefined) this.#windows.copyIn(at, from, start + done, size);
      else window.copyIn(at % WINDOW, from, start + done, size);
      done += size;
      at += size;
    }
  }

  slice(offset: number, length: number): MemoryView {
    const at = this.#at(offset, length);
    if (length === 0) return new MappedView(new ArrayBuffer(0));
    if ((at % WINDOW) + length > WINDOW + OVERLAP) return new WindowedView(this.#windows, at, length);
    const window = this.#windows.opened(windowAt(at));
    return window?.slice(at % WINDOW, length) ?? new MappedView(new ArrayBuffer(length));
  }

  #window(at: number): MappedView | undefined {
    const window = this.#windows.at(windowAt(at));
    if (window === undefined) return undefined;
    const start = this.#start % WINDOW;
    if (windowAt(at) === windowAt(this.#start) && start + this.length <= window.length) {
      this.#whole = window.slice(start, this.length);
    }
    return window;
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
