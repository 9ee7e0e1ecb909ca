import type { MemoryView } from '../../../memory/memory-view.js';
import { SharedWindow } from '../../../memory/shared-window.js';
import { NO_FILES } from '../../../virtio/local-shared-memory.js';
import {
  type DeviceSharedMemory,
  type FileRange,
  rangeProblem,
  type SharedMemorySpec,
} from '../../../virtio/shared-memory.js';
import type { KeptItem, Notes } from '../../keep.js';
import type { Os } from '../../ports.js';
import { BACKEND_REQUEST } from '../messages.js';
import { encodeSharedMapping } from '../shared-memory.js';
import { fileNotes, isSharedFile, memoryNotes, noFilesNotes, sharedMemoryOf } from './records.js';

/** What the regions of a session need of it. */
export interface SharedMemoryPorts {
  readonly os: Os;
  /** See `BackendChannel.ask`; `false` also where SHMEM was not negotiated. */
  ask(
    request: number,
    payload: Uint8Array,
    answered: (ok: boolean) => void,
    fds?: readonly number[],
    sent?: () => void,
  ): boolean;
  /** For the session in the next process, if there is to be one. */
  note(notes: Notes): void;
  warn(line: string): void;
}

/** The shared memory regions of a device, as a front-end has them: those of memory it is shown when a ring is served, files when the device says so. */
export class SharedMemoryRegions {
  /** By id. */
  readonly regions: ReadonlyMap<number, Region>;
  readonly #ports: SharedMemoryPorts;
  #shown = false;
  /** The front-end may have something mapped that a process before had it map. */
  readonly #stale: Uint8Array[] = [];

  /**
   * @param kept - of a session in another process: regions go on with that memory.
   * @throws OsError when there is no memory to be had.
   */
  constructor(specs: readonly SharedMemorySpec[], ports: SharedMemoryPorts, kept: readonly KeptItem[] = []) {
    this.#ports = ports;
    for (const item of kept) if (isSharedFile(item)) this.#stale.push(item.bytes);
    this.regions = new Map(
      specs.map((spec) => [
        spec.id,
        new Region(
          spec,
          ports,
          kept.find((item) => sharedMemoryOf(item) === spec.id),
        ),
      ]),
    );
  }

  /** Bytes of each region, by id. */
  get sizes(): ReadonlyMap<number, number> {
    return new Map([...this.regions].map(([id, { size }]) => [id, size]));
  }

  /** A ring is served: the front-end is shown what there is, unless it was. */
  show(): void {
    if (this.#shown) return;
    this.#shown = true;
    for (const payload of this.#stale.splice(0)) {
      this.#ports.ask(BACKEND_REQUEST.SHMEM_UNMAP, payload, () => {});
      this.#ports.note(fileNotes(payload, false));
    }
    for (const region of this.regions.values()) region.show();
  }

  /** The driver reset the device, with which a front-end takes all mappings out; or there is another to talk to. */
  forget(): void {
    this.#shown = false;
    for (const region of this.regions.values()) region.forget();
    if ([...this.regions.values()].some(({ files }) => files)) this.#ports.note(noFilesNotes());
  }

  close(): void {
    for (const region of this.regions.values()) region.close();
  }
}

class Region implements DeviceSharedMemory {
  readonly #ports: SharedMemoryPorts;
  readonly #window: SharedWindow;
  /** Of its memory; `undefined` for one of files. */
  readonly #fd: number | undefined;
  /** A process before had it, and may have shown it. */
  readonly #inherited: boolean;
  /** Whether it is one of files. */
  readonly files: boolean;
  /** Lengths of the files that are mapped, or on their way, by their offsets. */
  #mapped = new Map<number, number>();

  constructor(
    { id, size, files = false }: SharedMemorySpec,
    ports: SharedMemoryPorts,
    kept: KeptItem | undefined,
  ) {
    this.#ports = ports;
    this.#window = new SharedWindow(id, size);
    this.files = files;
    this.#inherited = kept !== undefined;
    if (files) return;
    const { os } = ports;
    const inherited = kept?.fds[0];
    if (inherited !== undefined) {
      // The first of two: one to map, and one to hand on.
      const mapping = os.map(kept!.fds[1]!, 0, size);
      this.#fd = inherited;
      this.#window.put(0, mapping.view, true, () => mapping.release());
      return;
    }
    const { fd, mapping } = os.createMemory('virtio-misc-shared', size);
    this.#fd = fd;
    this.#window.put(0, mapping.view, true, () => mapping.release());
    ports.note(memoryNotes(id, fd));
  }

  get id(): number {
    return this.#window.id;
  }

  get size(): number {
    return this.#window.size;
  }

  read(offset: number, into: Uint8Array): void {
    this.#window.read(offset, into);
  }

  write(offset: number, from: Uint8Array): void {
    this.#window.write(offset, from);
  }

  view(offset: number, length: number): MemoryView {
    return this.#window.view(offset, length);
  }

  /** Has the front-end map it, if it is memory. */
  show(): void {
    if (this.#fd === undefined) return;
    const { id, size } = this;
    const payload = encodeSharedMapping({ id, offset: 0, length: size, fileOffset: 0, writable: true });
    const answered = (ok: boolean): void => {
      if (!ok && !this.#inherited) this.#ports.warn(`the front-end does not map shared memory region ${id}`);
    };
    this.#ports.ask(BACKEND_REQUEST.SHMEM_MAP, payload, answered, [this.#fd]);
  }

  forget(): void {
    this.#mapped = new Map();
  }

  map({ offset, length, fd, fileOffset = 0, writable = false }: FileRange): Promise<void> {
    const problem =
      this.#fd !== undefined
        ? NO_FILES
        : (rangeProblem(this.size, offset, length, fileOffset) ?? this.#overlap(offset, length));
    const close = (): void => this.#ports.os.closeFd(fd);
    if (problem !== undefined) {
      close();
      return Promise.reject(new RangeError(`shared memory region ${this.id}: ${problem}`));
    }
    const files = this.#mapped;
    files.set(offset, length);
    const payload = encodeSharedMapping({ id: this.id, offset, length, fileOffset, writable });
    // On record before it is said: to take out what is not there does no harm.
    this.#ports.note(fileNotes(payload, true));
    return this.#ask(BACKEND_REQUEST.SHMEM_MAP, payload, [fd], close).catch((error) => {
      files.delete(offset);
      this.#ports.note(fileNotes(payload, false));
      throw error;
    });
  }

  unmap(offset: number, length: number): Promise<void> {
    const files = this.#mapped;
    if (files.get(offset) !== length) {
      const text = `no file is mapped in ${length} bytes at ${offset}`;
      return Promise.reject(new RangeError(`shared memory region ${this.id}: ${text}`));
    }
    const payload = encodeSharedMapping({ id: this.id, offset, length, fileOffset: 0, writable: false });
    return this.#ask(BACKEND_REQUEST.SHMEM_UNMAP, payload).then(() => {
      files.delete(offset);
      this.#ports.note(fileNotes(payload, false));
    });
  }

  close(): void {
    this.#window.clear();
    if (this.#fd !== undefined) this.#ports.os.closeFd(this.#fd);
  }

  #overlap(offset: number, length: number): string | undefined {
    for (const [start, size] of this.#mapped) {
      if (offset < start + size && start < offset + length)
        return `something is mapped in ${length} bytes at ${offset}`;
    }
    return undefined;
  }

  #ask(request: number, payload: Uint8Array, fds?: readonly number[], sent?: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const text = `the front-end does not ${fds === undefined ? 'unmap' : 'map'} what shared memory region ${this.id} is to have`;
      const answered = (ok: boolean): void => (ok ? resolve() : reject(new Error(text)));
      if (this.#ports.ask(request, payload, answered, fds, sent)) return;
      sent?.();
      reject(new Error(`${text}: it takes none (SHMEM)`));
    });
  }
}
