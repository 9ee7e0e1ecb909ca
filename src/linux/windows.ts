import { MappedView } from '../memory/mapped-view.js';
import type { AddressRange } from './address-range.js';

/** Bytes from one window's start to the next one's. */
export const WINDOW: number = 2 ** 30;

/** Bytes that a window shares with the next one, so that any slice up to this size lies within one. */
export const OVERLAP: number = 2 ** 20;

/** How often a window is reached by copying before it is opened. */
const OPENED_AFTER = 256;

/**
 * A range of addresses that is too large for one ArrayBuffer, cut into windows. A window is opened when it is used much or needed as such, and
 * until then reached by copying: Node collects garbage for each that is opened, some milliseconds, and a peer can name thousands.
 */
export class Windows {
  readonly #range: AddressRange;
  readonly #inset: number;
  readonly #size: number;
  readonly #open: (MappedView | undefined)[];
  readonly #uses: Uint16Array;
  readonly #word = new DataView(new ArrayBuffer(4));
  readonly #wordBytes = new Uint8Array(this.#word.buffer);

  /**
   * @param inset - where the first window begins, in bytes from the start of the range.
   * @param size - bytes of all windows together.
   */
  constructor(range: AddressRange, inset: number, size: number) {
    this.#range = range;
    this.#inset = inset;
    this.#size = size;
    const count = Math.ceil(size / WINDOW);
    this.#open = new Array<MappedView | undefined>(count);
    this.#uses = new Uint16Array(count);
  }

  /** A window to look through; `undefined` for one that is reached by copying. */
  at(index: number): MappedView | undefined {
    const window = this.#open[index];
    if (window !== undefined || this.#range.released) return window;
    this.#uses[index]! += 1;
    return this.#uses[index]! > OPENED_AFTER ? this.opened(index) : undefined;
  }

  /** The same, opened in any case; `undefined` where there is none after the release. */
  opened(index: number): MappedView | undefined {
    const window = this.#open[index];
    if (window !== undefined || this.#range.released) return window;
    const start = index * WINDOW;
    const length = Math.min(this.#size - start, WINDOW + OVERLAP);
    const fresh = new MappedView(this.#range.buffer(this.#inset + start, length));
    this.#open[index] = fresh;
    return fresh;
  }

  // By copying; `at` is in bytes from the first window's start.

  read(at: number, size: 2 | 4): number {
    this.copyOut(at, this.#wordBytes, 0, size);
    return size === 2 ? this.#word.getUint16(0, true) : this.#word.getUint32(0, true);
  }

  write(at: number, size: 2 | 4, value: number): void {
    this.#word.setUint32(0, value, true);
    this.copyIn(at, this.#wordBytes, 0, size);
  }

  copyOut(at: number, into: Uint8Array, start: number, length: number): void {
    this.#range.copyOut(this.#inset + at, into, start, length);
  }

  copyIn(at: number, from: Uint8Array, start: number, length: number): void {
    this.#range.copyIn(this.#inset + at, from, start, length);
  }
}
