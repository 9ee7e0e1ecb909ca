import type { MemoryView } from '../memory/memory-view.js';

/** A region of memory that a device and its driver share beside the queues (VIRTIO 1.3 §2.10). */
export interface SharedMemorySpec {
  /** The `shmid`, by which the device's own chapter knows it: 0 to 255, each once. */
  readonly id: number;
  /** Bytes: a multiple of 4096. */
  readonly size: number;
  /** The device maps files into it while it runs: at first there is nothing. Otherwise all of it is memory, zeroed when the device is made. */
  readonly files?: boolean;
}

/** A part of a file, to be mapped into a region. */
export interface FileRange {
  /** Where in the region, in bytes: a multiple of 4096, like all three. */
  readonly offset: number;
  readonly length: number;
  /** Of a memfd, or a file on tmpfs or hugetlbfs; taken over, whatever comes of it. */
  readonly fd: number;
  /** Where in the file. 0 unless told. */
  readonly fileOffset?: number;
  /** Whether the driver may write to it. It may not, unless told. */
  readonly writable?: boolean;
}

/** A device's end of a region. Places in it are offsets from its start (§2.10.1). */
export interface DeviceSharedMemory {
  readonly id: number;
  /** Bytes. */
  readonly size: number;
  /** @throws MemoryError when a part of that is not there: outside, or in a region of files, which a device has itself. */
  read(offset: number, into: Uint8Array): void;
  /** @throws MemoryError as `read`. */
  write(offset: number, from: Uint8Array): void;
  /** Bytes of it, in place. @throws MemoryError as `read`. */
  view(offset: number, length: number): MemoryView;
  /**
   * Maps a file where nothing is. A driver's reset takes all files out again.
   *
   * @returns resolves when the driver can see it; rejects when it can't be: it overlaps, is not on pages, or the front-end refuses it.
   */
  map(file: FileRange): Promise<void>;
  /** Takes out what one `map` mapped: all of it. Rejects when there is no such file. */
  unmap(offset: number, length: number): Promise<void>;
}

/** A driver's end of a region. */
export interface DriverSharedMemory {
  readonly id: number;
  /** Bytes. */
  readonly size: number;
  /** Rejects when a part of that is not there, or the device is lost. */
  read(offset: number, length: number): Promise<Uint8Array>;
  /** Rejects when a part of that is not there or may not be written, or the device is lost. */
  write(offset: number, bytes: Uint8Array): Promise<void>;
  /**
   * Bytes of it, in place: stale when what is mapped there changes, which the device says.
   *
   * @returns `undefined` where they are reached by messages only.
   * @throws MemoryError when a part of that is not there.
   */
  view(offset: number, length: number): MemoryView | undefined;
}

/** Pages are what is mapped. */
export const SHARED_MEMORY_PAGE = 4096;

/** What is wrong with a range that is to be mapped; `undefined` when it can be. */
export function rangeProblem(
  size: number,
  offset: number,
  length: number,
  fileOffset = 0,
): string | undefined {
  const pages = [offset, length, fileOffset].every(
    (value) => Number.isSafeInteger(value) && value >= 0 && value % SHARED_MEMORY_PAGE === 0,
  );
  if (!pages || length === 0)
    return `${length} bytes at ${offset}, from ${fileOffset} of the file, are no pages`;
  if (offset + length > size) return `${length} bytes at ${offset} are not in a region of ${size}`;
  return undefined;
}
