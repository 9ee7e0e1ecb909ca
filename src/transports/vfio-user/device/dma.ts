import type { GuestMemory } from '../../../memory/guest-memory.js';
import { MemoryError } from '../../../memory/memory-error.js';
import { overLimit } from '../../memory-limit.js';
import type { OsError } from '../../os-error.js';
import type { Mapping, Os } from '../../ports.js';
import type { DmaMap, DmaUnmap } from '../codec.js';
import * as wire from '../messages.js';
import { MAX_DMA_MAPS } from '../version.js';
import { ERRNO, type ErrnoName, VfioUserError } from '../vfio-user-error.js';
import { RemoteView } from './remote-view.js';

interface Region {
  readonly size: number;
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
    const known = wire.VFIO_DMA_MAP_FLAG_READ | wire.VFIO_DMA_MAP_FLAG_WRITE;
    if ((flags & ~known) !== 0 || (flags & wire.VFIO_DMA_MAP_FLAG_READ) === 0) {
      throw new VfioUserError('EINVAL', `DMA_MAP has flags 0x${flags.toString(16)}`);
    }
    if (!(size > 0 && address + size <= Number.MAX_SAFE_INTEGER)) {
      throw new VfioUserError('EINVAL', `DMA_MAP of ${size} bytes at ${address} can't be reached`);
    }
    if (fds.length > 1) throw new VfioUserError('EINVAL', `DMA_MAP came with ${fds.length} descriptors`);
    if (this.#regions.size >= MAX_DMA_MAPS) {
      throw new VfioUserError('ENOSPC', `over ${MAX_DMA_MAPS} DMA regions`);
    }
    const writable = (flags & wire.VFIO_DMA_MAP_FLAG_WRITE) !== 0;
    // Read-only memory holds no ring and no buffer to fill: mapping it for writing, as the port does, might be refused.
    if (fds.length === 0 || !writable) this.#addRemote(request, writable);
    else {
      const text = overLimit(this.#shared + size, this.#most);
      if (text !== undefined) throw new VfioUserError('ENOMEM', `DMA_MAP: ${text}`);
      this.#addMapping(request, this.#mapFile(fds.pop()!, offset, size));
    }
  }

  /** Whether the client keeps memory to itself that may hold buffers: a ROM, which may not be written, holds none. */
  get keepsBuffers(): boolean {
    return this.#memory.regions.some(({ view }) => view instanceof RemoteView && view.writable);
  }

  /** @throws VfioUserError `ENOENT` when it is not exactly a region that was mapped. */
  unmap({ flags, address, size }: DmaUnmap): void {
    if (flags === wire.VFIO_DMA_UNMAP_FLAG_ALL && address === 0 && size === 0) {
      this.close();
      return;
    }
    if ((flags & wire.VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP) !== 0) {
      throw new VfioUserError('ENOTSUP', 'DMA_UNMAP wants dirty pages, which are not tracked');
    }
    if (flags !== 0) throw new VfioUserError('EINVAL', `DMA_UNMAP has flags 0x${flags.toString(16)}`);
    const region = this.#regions.get(address);
    if (region === undefined || region.size !== size) {
      throw new VfioUserError('ENOENT', `DMA_UNMAP of ${size} bytes at ${address}, which is no DMA region`);
    }
    this.#memory.remove(address, size);
    this.#regions.delete(address);
    region.release();
  }

  /** Unmaps all. */
  close(): void {
    this.#memory.clear();
    for (const region of this.#regions.values()) region.release();
    this.#regions.clear();
  }

  #addRemote({ address, size }: DmaMap, writable: boolean): void {
    this.#put(address, size, new RemoteView(address, size, writable));
    this.#regions.set(address, { size, release: () => {} });
  }

  #addMapping({ address, size }: DmaMap, mapping: Mapping): void {
    try {
      this.#put(address, size, mapping.view);
    } catch (error) {
      mapping.release();
      throw error;
    }
    this.#shared += size;
    this.#regions.set(address, {
      size,
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
