import { MappedView } from '../memory/mapped-view.js';
import type { MemoryView } from '../memory/memory-view.js';
import type { Mapping } from '../transports/ports.js';
import { AddressRange } from './address-range.js';
import { GuardedView } from './guarded-view.js';
import { PageGuard } from './page-guard.js';
import { inspectSharedFile } from './shared-file.js';
import { WindowedView } from './windowed-view.js';
import { Windows } from './windows.js';

/** What one mapping may have at most, whatever a connection may have in all: 32 TiB, a quarter of a process's addresses. */
const MAX_SIZE = 2 ** 45;

/** Up to so many bytes a window is opened at once: hundreds of them cost little. */
const SMALL = 4 * 2 ** 20;

/** A mapped file, of any size. Its pages come when they are touched. */
export class FileMapping implements Mapping {
  readonly size: number;
  readonly view: MemoryView;
  readonly file: string;
  readonly #range: AddressRange;

  /**
   * Maps `size` bytes from `offset`, both in bytes; `offset` is a multiple of 4, not necessarily of a page. The
   * descriptor stays the caller's.
   *
   * @param readOnly - a write to it would end this process: whoever has the view sees to it that there is none.
   * @throws OsError as `inspectSharedFile`, or what mmap says.
   */
  constructor(fd: number, offset: number, size: number, readOnly = false) {
    const file = inspectSharedFile(fd, offset, size, MAX_SIZE);
    const inset = offset % file.page;
    const length = Math.ceil((inset + size) / file.page) * file.page;
    const range = new AddressRange(fd, offset - inset, length, file, readOnly);
    this.size = size;
    this.file = file.identity;
    this.#range = range;
    const view =
      size <= SMALL
        ? new MappedView(range.buffer(inset, size))
        : new WindowedView(new Windows(range, inset, size), 0, size);
    this.view = file.scarce
      ? new GuardedView(view, new PageGuard(range, length, file.page, readOnly), inset)
      : view;
  }

  release(): void {
    this.#range.release();
  }
}
