import type { MemoryView } from '../../../memory/memory-view.js';
import { SharedWindow } from '../../../memory/shared-window.js';
import type { Clock } from '../../../virtio/clock.js';
import { TransportError } from '../../../virtio/driver-transport.js';
import { type DriverSharedMemory, rangeProblem } from '../../../virtio/shared-memory.js';
import type { Os } from '../../ports.js';
import type { SharedMapping } from '../shared-memory.js';

/** Mappings of all regions at most: each takes one of the process's, of which the kernel gives some 65,000. */
const MAPPINGS_MOST = 4096;

/** The shared memory regions that a back-end has, and what it mapped there. It names everything, and is believed nothing. */
export class FrontendSharedMemory {
  readonly #os: Os;
  readonly #clock: Clock;
  /** ns that a back-end may take until it says what there is in a region. */
  readonly #timeout: number;
  #regions: ReadonlyMap<number, FrontendRegion> | undefined;

  constructor(os: Os, clock: Clock, timeout: number) {
    this.#os = os;
    this.#clock = clock;
    this.#timeout = timeout;
  }

  /** By id. */
  get regions(): ReadonlyMap<number, DriverSharedMemory> {
    return this.#regions ?? new Map();
  }

  /**
   * What a back-end says that it has.
   *
   * @throws TransportError `REFUSED` when another one had something else before.
   */
  meet(sizes: ReadonlyMap<number, number>): void {
    const regions = this.#regions;
    if (regions === undefined) {
      this.#regions = new Map(
        [...sizes].map(([id, size]) => [id, new FrontendRegion(id, size, this.#clock, this.#timeout)]),
      );
      return;
    }
    const same =
      regions.size === sizes.size && [...sizes].every(([id, size]) => regions.get(id)?.size === size);
    if (!same) throw new TransportError('REFUSED', 'the next back-end has other shared memory regions');
  }

  /** SHMEM_MAP. @param fd - taken over. @returns whether it is there now. */
  map({ id, offset, length, fileOffset, writable }: SharedMapping, fd: number): boolean {
    const region = this.#regions?.get(id);
    const good =
      region !== undefined &&
      rangeProblem(region.size, offset, length, fileOffset) === undefined &&
      !region.window.touches(offset, length) &&
      this.#count < MAPPINGS_MOST;
    if (!good) {
      this.#os.closeFd(fd);
      return false;
    }
    try {
      const mapping = this.#os.map(fd, fileOffset, length, !writable);
      region.put(offset, mapping.view, writable, () => mapping.release());
      return true;
    } catch {
      // It is no memory, or has no such bytes, or there is no room.
      return false;
    }
  }

  /** SHMEM_UNMAP. @returns whether that was mapped, as one. */
  unmap({ id, offset, length }: SharedMapping): boolean {
    return this.#regions?.get(id)?.window.take(offset, length) ?? false;
  }

  /** All mappings end with a reset, and with the back-end. */
  clear(): void {
    for (const region of this.#regions?.values() ?? []) region.window.clear();
  }

  close(): void {
    for (const region of this.#regions?.values() ?? []) region.close();
  }

  get #count(): number {
    let count = 0;
    for (const { window } of this.#regions?.values() ?? []) count += window.ranges.length;
    return count;
  }
}

/** A region. While nothing is mapped in it, the back-end's word is waited for, which comes another way than its answers. */
class FrontendRegion implements DriverSharedMemory {
  readonly window: SharedWindow;
  readonly #clock: Clock;
  readonly #timeout: number;
  readonly #waiting = new Set<() => void>();
  #closed = false;

  constructor(id: number, size: number, clock: Clock, timeout: number) {
    this.window = new SharedWindow(id, size);
    this.#clock = clock;
    this.#timeout = timeout;
  }

  get id(): number {
    return this.window.id;
  }

  get size(): number {
    return this.window.size;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    await this.#something();
    const bytes = new Uint8Array(length);
    this.window.read(offset, bytes);
    return bytes;
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    await this.#something();
    this.window.write(offset, bytes);
  }

  view(offset: number, length: number): MemoryView {
    return this.window.view(offset, length);
  }

  put(offset: number, view: MemoryView, writable: boolean, release: () => void): void {
    this.window.put(offset, view, writable, release);
    for (const go of this.#waiting) go();
  }

  close(): void {
    this.#closed = true;
    this.window.clear();
    for (const go of this.#waiting) go();
  }

  /** Resolves when something is mapped, or nobody will do that any more. */
  #something(): Promise<void> {
    if (this.window.ranges.length > 0 || this.#closed) return Promise.resolve();
    return new Promise((resolve) => {
      const go = (): void => {
        alarm.close();
        this.#waiting.delete(go);
        resolve();
      };
      const alarm = this.#clock.alarm(go);
      this.#waiting.add(go);
      alarm.set(this.#clock.now() + this.#timeout);
    });
  }
}
