import { MemoryError } from '../memory/memory-error.js';
import type { AddressRange } from './address-range.js';
import { madvise } from './libc.js';
import { MADV_POPULATE_READ, MADV_POPULATE_WRITE } from './shared-file.js';

/** Bytes whose pages are asked for at once: some 100 µs. */
const STEP = 256 * 1024;

/** Asks for the pages of a file before they are touched, where a touch could end the process. What was had once is there. */
export class PageGuard {
  readonly #range: AddressRange;
  readonly #size: number;
  readonly #page: number;
  readonly #step: number;
  readonly #advice: number;
  readonly #had: Uint8Array;

  /**
   * @param size - bytes of the range.
   * @param page - bytes of a page.
   * @param readOnly - whether the range can't be written to.
   */
  constructor(range: AddressRange, size: number, page: number, readOnly = false) {
    this.#advice = readOnly ? MADV_POPULATE_READ : MADV_POPULATE_WRITE;
    this.#range = range;
    this.#size = size;
    this.#page = page;
    this.#step = Math.max(STEP, page);
    this.#had = new Uint8Array(Math.ceil(size / this.#step));
  }

  /**
   * To be called before each access.
   *
   * @param at - in bytes from the start of the range.
   * @throws MemoryError `UNBACKED` when there is no page for it.
   */
  ask(at: number, length: number): void {
    if (length === 0) return;
    const last = Math.floor((at + length - 1) / this.#step);
    for (let step = Math.floor(at / this.#step); step <= last; step++) {
      if (this.#had[step] === 0 && !this.#range.released) this.#askStep(step, at, length);
    }
  }

  #askStep(step: number, at: number, length: number): void {
    const start = step * this.#step;
    const end = Math.min(start + this.#step, this.#size);
    if (this.#populate(start, end)) {
      this.#had[step] = 1;
      return;
    }
    // Maybe there are just those that are wanted.
    const from = Math.max(start, Math.floor(at / this.#page) * this.#page);
    const to = Math.min(end, Math.ceil((at + length) / this.#page) * this.#page);
    if (!this.#populate(from, to)) throw new MemoryError('UNBACKED', at, length);
  }

  #populate(start: number, end: number): boolean {
    return madvise(this.#range.address + start, end - start, this.#advice) === 0;
  }
}
