import { MappedView } from '../memory/mapped-view.js';
import type { MemoryView } from '../memory/memory-view.js';
import { SharedWindow } from '../memory/shared-window.js';
import {
  type DeviceSharedMemory,
  type FileRange,
  rangeProblem,
  type SharedMemorySpec,
} from './shared-memory.js';

/** What is there of an operating system. */
export interface SharedMemoryOs {
  createMemory(name: string, size: number): { readonly fd: number; readonly mapping: MappedFile };
  /** Takes the descriptor over. */
  map(fd: number, offset: number, size: number, readOnly?: boolean): MappedFile;
  closeFd(fd: number): void;
}

interface MappedFile {
  readonly view: MemoryView;
  release(): void;
}

/** Where a region is among all of a device's. */
export interface PlacedRegion {
  readonly id: number;
  readonly offset: number;
  readonly length: number;
}

/**
 * A device's shared memory regions in this process: one piece of memory, with one region after the other, and the files that the device maps. A driver
 * reaches it by calls, or has the piece of memory itself.
 */
export class LocalSharedMemory {
  /** By id. */
  readonly regions: ReadonlyMap<number, LocalRegion>;
  readonly places: readonly PlacedRegion[];
  /** Bytes of all: a power of two, of which the end may be nobody's; 0 when there is none. */
  readonly size: number;
  /** Of the whole piece of memory, to be mapped by others; `undefined` where there is none, or files come and go in it. It stays this object's. */
  readonly fd: number | undefined;
  readonly #os: SharedMemoryOs | undefined;
  readonly #release: () => void;

  /**
   * @param os - without one, regions are memory of this process alone, and no files can be mapped.
   * @throws OsError when there is no memory to be had.
   */
  constructor(specs: readonly SharedMemorySpec[], os?: SharedMemoryOs) {
    this.#os = os;
    let end = 0;
    this.places = specs.map(({ id, size }) => {
      const offset = end;
      end += size;
      return { id, offset, length: size };
    });
    this.size = end === 0 ? 0 : 2 ** Math.ceil(Math.log2(end));
    const memory = specs.some(({ files }) => files !== true) ? this.#make(this.size) : undefined;
    this.#release = memory?.release ?? (() => {});
    this.fd = specs.some(({ files }) => files === true) ? undefined : memory?.fd;
    this.regions = new Map(
      specs.map(({ id, size, files = false }, i) => [
        id,
        new LocalRegion(id, size, os, files ? undefined : memory!.view.slice(this.places[i]!.offset, size)),
      ]),
    );
  }

  /** Bytes of all regions as a driver sees them; zeros where nothing is. */
  read(offset: number, length: number): Uint8Array {
    const out = new Uint8Array(length);
    for (const [region, at, part] of this.#parts(offset, out)) region.peek(at, part);
    return out;
  }

  /** A driver's write: ignored where nothing is, or nothing may be written. */
  write(offset: number, bytes: Uint8Array): void {
    for (const [region, at, part] of this.#parts(offset, bytes)) region.poke(at, part);
  }

  /** The driver reset the device: files are taken out. */
  reset(): void {
    for (const region of this.regions.values()) region.forgetFiles();
  }

  close(): void {
    for (const region of this.regions.values()) region.window.clear();
    this.#release();
  }

  #make(size: number): { view: MemoryView; fd: number | undefined; release: () => void } {
    const os = this.#os;
    if (os === undefined)
      return { view: new MappedView(new ArrayBuffer(size)), fd: undefined, release: () => {} };
    const { fd, mapping } = os.createMemory('virtio-misc-shared', size);
    const release = (): void => {
      os.closeFd(fd);
      mapping.release();
    };
    return { view: mapping.view, fd, release };
  }

  /** What of an access is in which region. */
  *#parts(offset: number, bytes: Uint8Array): Generator<[LocalRegion, number, Uint8Array]> {
    for (const { id, offset: start, length } of this.places) {
      const from = Math.max(offset, start);
      const to = Math.min(offset + bytes.length, start + length);
      if (from < to) yield [this.regions.get(id)!, from - start, bytes.subarray(from - offset, to - offset)];
    }
  }
}

/** One region, seen from the device. */
export class LocalRegion implements DeviceSharedMemory {
  readonly window: SharedWindow;
  readonly #os: SharedMemoryOs | undefined;
  readonly #files: boolean;

  /** @param memory - all of it; without, it is for files. */
  constructor(id: number, size: number, os: SharedMemoryOs | undefined, memory: MemoryView | undefined) {
    this.window = new SharedWindow(id, size);
    this.#os = os;
    this.#files = memory === undefined;
    if (memory !== undefined) this.window.put(0, memory, true, () => {});
  }

  get id(): number {
    return this.window.id;
  }

  get size(): number {
    return this.window.size;
  }

  read(offset: number, into: Uint8Array): void {
    this.window.read(offset, into);
  }

  write(offset: number, from: Uint8Array): void {
    this.window.write(offset, from);
  }

  view(offset: number, length: number): MemoryView {
    return this.window.view(offset, length);
  }

  async map({ offset, length, fd, fileOffset = 0, writable = false }: FileRange): Promise<void> {
    const os = this.#os;
    if (os === undefined) throw new RangeError('no files can be mapped over this transport');
    const problem = this.#files ? rangeProblem(this.size, offset, length, fileOffset) : NO_FILES;
    if (problem !== undefined || this.window.touches(offset, length)) {
      os.closeFd(fd);
      throw new RangeError(
        `shared memory region ${this.id}: ${problem ?? `something is mapped in ${length} bytes at ${offset}`}`,
      );
    }
    const mapping = os.map(fd, fileOffset, length, !writable);
    this.window.put(offset, mapping.view, writable, () => mapping.release());
  }

  async unmap(offset: number, length: number): Promise<void> {
    if (!this.#files || !this.window.take(offset, length))
      throw new RangeError(
        `shared memory region ${this.id}: no file is mapped in ${length} bytes at ${offset}`,
      );
  }

  forgetFiles(): void {
    if (this.#files) this.window.clear();
  }

  /** What a driver reads. */
  peek(offset: number, into: Uint8Array): void {
    this.#each(offset, into, (at, part) => this.window.read(at, part));
  }

  /** What a driver writes. */
  poke(offset: number, from: Uint8Array): void {
    this.#each(offset, from, (at, part) => this.window.write(at, part));
  }

  /** What is mapped of an access; what is not, or not to be touched, is left out. */
  #each(offset: number, bytes: Uint8Array, act: (at: number, part: Uint8Array) => void): void {
    for (const range of this.window.ranges) {
      const from = Math.max(offset, range.offset);
      const to = Math.min(offset + bytes.length, range.offset + range.length);
      if (from >= to) continue;
      try {
        act(from, bytes.subarray(from - offset, to - offset));
      } catch {
        // Read-only, or a page that can't be had.
      }
    }
  }
}

export const NO_FILES = 'files are mapped into a region that says so: files: true';
