import type { DirtyLog } from '../../../memory/dirty-log.js';
import type { PageRange } from '../feature-codec.js';
import * as wire from '../messages.js';
import { VfioUserError } from '../vfio-user-error.js';

/** Bytes of a page here, whatever the client would like: what DMA_LOGGING_START's answer says. */
export const LOG_PAGE_SIZE = 4096;

/** Pages in a piece of the bitmap, which is made when one of them is written: 128 MiB of memory. */
const PIECE_PAGES = 32_768;

/** The pages that were written since it was made, or since they were reported. */
export class DirtyPages implements DirtyLog {
  /** By number: a bit for each page. */
  readonly #pieces = new Map<number, Uint32Array>();

  wrote(address: number, length: number): void {
    const last = Math.floor((address + length - 1) / LOG_PAGE_SIZE);
    for (let page = Math.floor(address / LOG_PAGE_SIZE); page <= last; page++) this.#mark(page);
  }

  #mark(page: number): void {
    const number = Math.floor(page / PIECE_PAGES);
    let piece = this.#pieces.get(number);
    if (piece === undefined) {
      piece = new Uint32Array(PIECE_PAGES / 32);
      this.#pieces.set(number, piece);
    }
    const bit = page % PIECE_PAGES;
    piece[bit >>> 5]! |= 1 << (bit & 31);
  }

  /**
   * The pages of a range as a client wants them: those of its size, a bit each from the lowest of the first byte on, in whole 64-bit words.
   * They are clean then.
   *
   * @throws VfioUserError `EINVAL` for a range or a page size that can't be.
   */
  take({ address, length, pageSize }: PageRange): Uint8Array {
    const bitmap = new Uint8Array(bitmapSize({ address, length, pageSize }));
    const last = Math.ceil((address + length) / LOG_PAGE_SIZE);
    for (let page = address / LOG_PAGE_SIZE; page < last; ) {
      const piece = this.#pieces.get(Math.floor(page / PIECE_PAGES));
      const bit = page % PIECE_PAGES;
      const words = piece === undefined ? PIECE_PAGES - bit : 32 - (bit & 31);
      const word = piece?.[bit >>> 5] ?? 0;
      const end = Math.min(last, page + words);
      if (word === 0) {
        page = end;
        continue;
      }
      for (; page < end; page++) {
        const mask = 1 << (page & 31);
        if ((word & mask) === 0) continue;
        piece![bit >>> 5]! &= ~mask;
        setBits(
          bitmap,
          page * LOG_PAGE_SIZE - address,
          Math.min(LOG_PAGE_SIZE, address + length - page * LOG_PAGE_SIZE),
          pageSize,
        );
      }
    }
    return bitmap;
  }

  /** Forgets what was written to the whole pages of a range that is no memory any more. */
  forget(address: number, length: number): void {
    const last = Math.floor((address + length) / LOG_PAGE_SIZE);
    for (const [number, piece] of this.#pieces) {
      const first = number * PIECE_PAGES;
      const from = Math.max(first, Math.ceil(address / LOG_PAGE_SIZE));
      const to = Math.min(first + PIECE_PAGES, last);
      if (to - from === PIECE_PAGES) this.#pieces.delete(number);
      else for (let page = from; page < to; page++) piece[(page - first) >>> 5]! &= ~(1 << (page & 31));
    }
  }
}

/** Sets the bits of the client's pages that `length` bytes at `offset` of the range lie in. */
function setBits(bitmap: Uint8Array, offset: number, length: number, pageSize: number): void {
  const last = Math.floor((offset + length - 1) / pageSize);
  for (let bit = Math.floor(offset / pageSize); bit <= last; bit++) bitmap[bit >>> 3]! |= 1 << (bit & 7);
}

/**
 * Bytes of the bitmap of a range.
 *
 * @throws VfioUserError `EINVAL` when it can't have one, or not in one message.
 */
export function bitmapSize({ address, length, pageSize }: PageRange): number {
  if (!(pageSize >= 1 && Number.isInteger(Math.log2(pageSize)))) {
    throw new VfioUserError('EINVAL', `dirty pages of ${pageSize} bytes, which is no power of two`);
  }
  if (!(length > 0 && address + length <= Number.MAX_SAFE_INTEGER)) {
    throw new VfioUserError('EINVAL', `dirty pages of ${length} bytes at ${address} can't be`);
  }
  // What is reported is clean: a part of a page would take the rest along.
  if (address % Math.max(pageSize, LOG_PAGE_SIZE) !== 0) {
    const text = `dirty pages of ${pageSize} bytes from ${address} on, which is no multiple of ${Math.max(pageSize, LOG_PAGE_SIZE)}`;
    throw new VfioUserError('EINVAL', text);
  }
  const bytes = 8 * Math.ceil(length / pageSize / 64);
  if (bytes > wire.DEFAULT_MAX_DATA_XFER_SIZE) {
    const text = `dirty pages: a bitmap of ${bytes} bytes, more than ${wire.DEFAULT_MAX_DATA_XFER_SIZE}`;
    throw new VfioUserError('EINVAL', text);
  }
  return bytes;
}
