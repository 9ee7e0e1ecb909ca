import { fstatSync } from 'node:fs';
import koffi from 'koffi';
import { MappedView } from '../memory/mapped-view.js';
import type { MemoryView } from '../memory/memory-view.js';
import type { Mapping } from '../transports/ports.js';
import { fcntl, getpagesize, mmap, munmap } from './libc.js';
import { check, OsFailure } from './os-failure.js';
import { OVERLAP, WINDOW, WindowedView } from './windowed-view.js';

const PROT_READ_WRITE = 0x3;
const MAP_SHARED = 0x01;
const MAP_PRIVATE = 0x02;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;

const F_ADD_SEALS = 1033;
const F_SEAL_SHRINK = 0x2;

/** Bounds what a peer can make us map: 4096 windows. */
const MAX_SIZE = 4096 * WINDOW;

interface Range {
  readonly address: number;
  readonly size: number;
}

/** Unmaps what no view can reach any more; to unmap earlier would make every view a trap. */
const unreachable = new FinalizationRegistry<Range>(({ address, size }) => munmap(address, size));

/** A mapped file, in windows: Node can't have an ArrayBuffer of any size. */
export class FileMapping implements Mapping {
  readonly size: number;
  readonly view: MemoryView;
  #ranges: readonly Range[];

  /**
   * Maps `size` bytes from `offset`, both in bytes; `offset` is a multiple of 4, not necessarily of a page. The
   * descriptor stays the caller's.
   *
   * If the file can be sealed against shrinking it is; one that can't, a plain file, is a danger: when the peer truncates
   * it, the next access is a SIGBUS, which nobody survives.
   *
   * @throws OsFailure `ENXIO` when the file has no such bytes, or what mmap says.
   */
  constructor(fd: number, offset: number, size: number) {
    // Refused where the file is no memfd or its seals are sealed. Before the size is looked at, which then stays.
    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK);
    const file = fstatSync(fd);
    const aligned = offset >= 0 && offset % 4 === 0;
    if (!(Number.isInteger(size) && size > 0 && size <= MAX_SIZE && aligned && offset + size <= file.size)) {
      throw new OsFailure(
        'ENXIO',
        'fstat',
        `map ${size} bytes from ${offset} of a file of ${file.size} bytes`,
      );
    }
    // A huge page is mapped whole or not at all; st_blksize is its size there.
    const page = Math.max(getpagesize(), file.blksize);
    const ranges: Range[] = [];
    const windows: MappedView[] = [];
    this.size = size;
    this.#ranges = ranges;
    try {
      for (let start = 0; start < size; start += WINDOW) {
        const length = Math.min(size - start, WINDOW + OVERLAP);
        const inset = (offset + start) % page;
        const range = mapShared(fd, offset + start - inset, Math.ceil((inset + length) / page) * page);
        ranges.push(range);
        const buffer = koffi.view(range.address + inset, length);
        unreachable.register(buffer, range);
        windows.push(new MappedView(buffer));
      }
    } catch (error) {
      this.release();
      throw error;
    }
    this.view = windows.length === 1 ? windows[0]! : new WindowedView(windows, 0, size);
  }

  release(): void {
    // Zero pages take the place of the file at once; the addresses are given back when the views are gone. Should the kernel
    // be out of memory for this, the file stays until then, too.
    for (const { address, size } of this.#ranges) {
      mmap(address, size, PROT_READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    }
    this.#ranges = [];
  }
}

function mapShared(fd: number, offset: number, size: number): Range {
  const address = mmap(0, size, PROT_READ_WRITE, MAP_SHARED | MAP_NORESERVE, fd, offset);
  return { address: check(address, 'mmap', `map ${size} bytes from ${offset} of a file`), size };
}
