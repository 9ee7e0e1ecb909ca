import type { GuestAddress } from '../../memory/address.js';
import type { DirtyLog } from '../../memory/dirty-log.js';
import type { MemoryView } from '../../memory/memory-view.js';

/** Bytes that one bit of a log stands for: `VHOST_LOG_PAGE`, whatever the page size of host and guest. */
export const LOG_PAGE = 4096;

/** Memory that bits can be set in while another process clears them. */
type Bits = Required<Pick<MemoryView, 'length' | 'setBits' | 'takeByte'>>;

/** What became of a log, for whoever owns it. */
export interface PageLogEvents {
  /** It was marked, for the first time since the last call or `quiet`. */
  marked?(): void;
  /** Something was written that it has no bit for. Called once. */
  outside?(address: number, length: number): void;
}

/**
 * A bit for each page of memory, from address 0 on, that says whether it was written: the page at `LOG_PAGE * n` has bit `n % 8` of byte
 * `n / 8`. Somebody else may take the bits away at any time, and copies the page then: so mark it after it was written, and each time.
 */
export class PageLog implements DirtyLog {
  readonly #bits: Bits;
  readonly #pages: number;
  readonly #events: PageLogEvents;
  #told = false;
  #missed = false;

  /** @param view - shared memory, all of which is the log. @throws TypeError when bits of it can't be set. */
  constructor(view: MemoryView, events: PageLogEvents = {}) {
    if (view.setBits === undefined || view.takeByte === undefined) {
      throw new TypeError('a log of dirty pages takes memory that is shared');
    }
    this.#bits = view as Bits;
    this.#pages = 8 * view.length;
    this.#events = events;
  }

  /** Bytes that a log has which covers all addresses below `end`. */
  static size(end: number): number {
    return Math.ceil(end / (8 * LOG_PAGE));
  }

  /** The first address that it has no bit for. */
  get end(): number {
    return this.#pages * LOG_PAGE;
  }

  /** What the log has no bit for is not marked, but told. */
  wrote(address: number, length: number): void {
    if (length <= 0) return;
    let last = Math.floor((address + length - 1) / LOG_PAGE);
    if (!(last < this.#pages)) {
      this.#miss(address, length);
      last = this.#pages - 1;
    }
    for (let page = Math.floor(address / LOG_PAGE); page <= last; ) {
      const bit = page % 8;
      const count = Math.min(8 - bit, last - page + 1);
      this.#bits.setBits((page - bit) / 8, ((1 << count) - 1) << bit);
      page += count;
    }
    if (this.#told) return;
    this.#told = true;
    this.#events.marked?.();
  }

  /** Whoever was told that it was marked wants to hear of the next time. */
  quiet(): void {
    this.#told = false;
  }

  /** Takes the marks away. @returns the addresses of the pages that had one, ascending. */
  take(): GuestAddress[] {
    const pages: GuestAddress[] = [];
    for (let at = 0; at < this.#bits.length; at++) {
      const bits = this.#bits.takeByte(at);
      for (let bit = 0; bit < 8; bit++) {
        if ((bits >>> bit) & 1) pages.push(((8 * at + bit) * LOG_PAGE) as GuestAddress);
      }
    }
    return pages;
  }

  #miss(address: number, length: number): void {
    if (this.#missed) return;
    this.#missed = true;
    this.#events.outside?.(address, length);
  }
}
