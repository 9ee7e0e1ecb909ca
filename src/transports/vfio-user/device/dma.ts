import type { GuestMemory } from '../../../memory/guest-memory.js';
import { MemoryError } from '../../../memory/memory-error.js';
import { overLimit } from '../../memory-limit.js';
import type { OsError } from '../../os-error.js';
import type { Mapping, Os } from '../../ports.js';
import type { DirtyBitmap, DmaMap, DmaUnmap } from '../codec.js';
import type { PageRange } from '../feature-codec.js';
import * as wire from '../messages.js';
import { MAX_DMA_MAPS } from '../version.js';
import { ERRNO, type ErrnoName, VfioUserError } from '../vfio-user-error.js';
import { bitmapSize, DirtyPages } from './dirty-pages.js';
import { RemoteView } from './remote-view.js';

interface Region {
  readonly size: number;
  /** As DMA_MAP had them. */
  readonly writable: boolean;
  readonly offset: number;
  /** Which file; `undefined` for memory that the client keeps to itself. */
  readonly file: string | undefined;
  /** Gives back what the region holds. */
  release(): void;
}

/** The memory that a client lets the device reach: DMA_MAP and DMA_UNMAP put it into a `GuestMemory` and take it out. */
export class Dma {
  readonly #os: Os;
  readonly #memory: GuestMemory;
  readonly #regions = new Map<number, Region>();
  readonly #most: number | undefined;
  /** Bytes that are mapped from files. */
  #shared = 0;
  #log: DirtyPages | undefined;

  /** @param most - bytes that all regions may have together. */
  constructor(os: Os, memory: GuestMemory, most?: number) {
    this.#os = os;
    this.#most = most;
    this.#memory = memory;
  }

  /**
   * @param fds - of the message; at most one, which is taken.
   * @throws VfioUserError
   */
  map(request: DmaMap, fds: number[]): void {
    const { address, size, flags, offset } = request;
    checkFlags(flags, fds.length);
    if (!(size > 0 && address + size <= Number.MAX_SAFE_INTEGER)) {
      throw new VfioUserError('EINVAL', `DMA_MAP of ${size} bytes at ${address} can't be reached`);
    }
    if (fds.length > 1) throw new VfioUserError('EINVAL', `DMA_MAP came with ${fds.length} descriptors`);
    const same = this.#sameAs(request);
    if (same === undefined && this.#regions.size >= MAX_DMA_MAPS) {
      throw new VfioUserError('ENOSPC', `over ${MAX_DMA_MAPS} DMA regions`);
    }
    const writable = isWritable(flags);
    // Read-only memory holds no ring and no buffer to fill: mapping it for writing, as the port does, might be refused.
    if (fds.length === 0 || !writable) {
      if (same === undefined || same.file !== undefined) this.#addRemote(request, writable);
      return;
    }
    const text = overLimit(this.#shared + (same === undefined ? size : 0), this.#most);
    if (text !== undefined) throw new VfioUserError('ENOMEM', `DMA_MAP: ${text}`);
    const mapping = this.#mapFile(fds.pop()!, offset, size);
    if (same?.file === mapping.file) mapping.release();
    else this.#addMapping(request, mapping);
  }

  /** The region that is there just as it is asked for, but for its file: a client that says it again, as libvfio-user lets it, means no other. */
  #sameAs({ address, size, flags, offset }: DmaMap): Region | undefined {
    const region = this.#regions.get(address);
    const same = region?.size === size && region.writable === isWritable(flags) && region.offset === offset;
    return same ? region : undefined;
  }

  /** Whether the client keeps memory to itself that may hold buffers: a ROM, which may not be written, holds none. */
  get keepsBuffers(): boolean {
    return this.#memory.regions.some(({ view }) => view instanceof RemoteView && view.writable);
  }

  /**
   * @returns the pages of it that were written, if the request wants those.
   * @throws VfioUserError `ENOENT` when it is not exactly a region that was mapped. It stays then, as for whatever else is wrong.
   */
  unmap({ flags, address, size, bitmap }: DmaUnmap): Uint8Array | undefined {
    if (flags === wire.VFIO_DMA_UNMAP_FLAG_ALL) {
      if (address !== 0 || size !== 0) {
        throw new VfioUserError('EINVAL', `DMA_UNMAP of all regions names ${size} bytes at ${address}`);
      }
      this.close();
      return undefined;
    }
    if (flags !== 0 && bitmap === undefined) {
      throw new VfioUserError('EINVAL', `DMA_UNMAP has flags 0x${flags.toString(16)}`);
    }
    const region = this.#regions.get(address);
    if (region === undefined || region.size !== size) {
      throw new VfioUserError('ENOENT', `DMA_UNMAP of ${size} bytes at ${address}, which is no DMA region`);
    }
    const dirty = bitmap === undefined ? undefined : this.#dirtyOf(address, size, bitmap);
    this.#memory.remove(address, size);
    this.#regions.delete(address);
    region.release();
    this.#log?.forget(address, size);
    return dirty;
  }

  #dirtyOf(address: DmaMap['address'], length: number, { pageSize, size }: DirtyBitmap): Uint8Array {
    const range = { address, length, pageSize };
    const expected = bitmapSize(range);
    if (size !== expected) {
      throw new VfioUserError('EINVAL', `DMA_UNMAP wants a bitmap of ${size} bytes, which has ${expected}`);
    }
    return this.#logged('DMA_UNMAP').take(range);
  }

  /** Whether pages that are written are marked. */
  get logging(): boolean {
    return this.#log !== undefined;
  }

  /** Marks pages that are written from now on; those that are marked already stay so. */
  startLogging(): void {
    this.#log ??= new DirtyPages();
    this.#memory.dirtyLog = this.#log;
  }

  /** Pages were marked by a process before, nobody knows which: all may be. */
  resumeLogging(): void {
    this.startLogging();
    for (const [address, { size }] of this.#regions) this.#log!.wrote(address, size);
  }

  /** Forgets which pages were written. */
  stopLogging(): void {
    this.#log = undefined;
    this.#memory.dirtyLog = undefined;
  }

  /**
   * The pages of a range that were written: they are clean then.
   *
   * @throws VfioUserError `EINVAL`, or `ENOENT` when a part of the range is no DMA region.
   */
  report(range: PageRange): Uint8Array {
    const log = this.#logged('DMA_LOGGING_REPORT');
    bitmapSize(range);
    if (!this.#memory.covers(range.address, range.length)) {
      const text = `DMA_LOGGING_REPORT of ${range.length} bytes at ${range.address}, of which not all is in DMA regions`;
      throw new VfioUserError('ENOENT', text);
    }
    return log.take(range);
  }

  #logged(what: string): DirtyPages {
    if (this.#log === undefined) throw new VfioUserError('EINVAL', `${what}: dirty pages are not logged`);
    return this.#log;
  }

  /** Unmaps all. */
  close(): void {
    for (const [address, { size }] of this.#regions) this.#log?.forget(address, size);
    this.#memory.clear();
    for (const region of this.#regions.values()) region.release();
    this.#regions.clear();
  }

  #addRemote({ address, size, offset }: DmaMap, writable: boolean): void {
    this.#put(address, size, new RemoteView(address, size, writable));
    this.#regions.set(address, { size, writable, offset, file: undefined, release: () => {} });
  }

  #addMapping({ address, size, offset }: DmaMap, mapping: Mapping): void {
    try {
      this.#put(address, size, mapping.view);
    } catch (error) {
      mapping.release();
      throw error;
    }
    this.#shared += size;
    this.#regions.set(address, {
      size,
      writable: true,
      offset,
      file: mapping.file,
      release: () => {
        this.#shared -= size;
        mapping.release();
      },
    });
  }

  #put(start: DmaMap['address'], size: number, view: Mapping['view']): void {
    try {
      this.#memory.add({ start, view });
    } catch (error) {
      if (!(error instanceof MemoryError)) throw error;
      throw new VfioUserError('EEXIST', `DMA_MAP of ${size} bytes at ${start}: ${error.message}`);
    }
  }

  #mapFile(fd: number, offset: number, size: number): Mapping {
    if (!Number.isSafeInteger(offset)) {
      this.#os.closeFd(fd);
      throw new VfioUserError('EINVAL', 'DMA_MAP has an offset of 2^53 or more');
    }
    try {
      return this.#os.map(fd, offset, size);
    } catch (error) {
      const { code, message } = error as OsError;
      const name = code in ERRNO ? (code as ErrnoName) : 'EINVAL';
      throw new VfioUserError(name, `DMA_MAP of ${size} bytes: ${message}`);
    }
  }
}

function isWritable(flags: number): boolean {
  return (flags & wire.VFIO_DMA_MAP_FLAG_WRITE) !== 0;
}

function checkFlags(flags: number, fds: number): void {
  const known =
    wire.VFIO_DMA_MAP_FLAG_READ |
    wire.VFIO_DMA_MAP_FLAG_WRITE |
    wire.VFIO_USER_F_DMA_REGION_MMAP |
    wire.VFIO_USER_F_DMA_REGION_FILE_IO;
  if ((flags & ~known) !== 0 || (flags & wire.VFIO_DMA_MAP_FLAG_READ) === 0) {
    throw new VfioUserError('EINVAL', `DMA_MAP has flags 0x${flags.toString(16)}`);
  }
  if ((flags & wire.VFIO_USER_F_DMA_REGION_FILE_IO) !== 0) {
    throw new VfioUserError(
      'ENOTSUP',
      'DMA_MAP of a file that is to be read and written: only memory that is mapped is taken',
    );
  }
  if ((flags & wire.VFIO_USER_F_DMA_REGION_MMAP) !== 0 && fds === 0) {
    throw new VfioUserError('EINVAL', 'DMA_MAP of a file that is to be mapped came without one');
  }
}
