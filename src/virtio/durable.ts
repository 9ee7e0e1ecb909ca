import type { MemoryView } from '../memory/memory-view.js';

/** Memory in which a device leaves behind what it wants to find again; see `DeviceHost.durable`. */
export interface DurableMemory {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /**
   * Those bytes, at an address that is a multiple of 8; of up to 4 MiB they are there by `words`, as are slices of up to 1 MiB that begin at a
   * multiple of 4. A process may be killed between any two stores to it: then it has the first and not the second.
   */
  readonly view: MemoryView;
  /** Whether an earlier device, of this process or another, had it: then it is as that left it. Else it is all zeros. */
  readonly found: boolean;
  /** Whether it outlives this process, because a keeper has it, too. If not, only edited code that takes the device's place finds it. */
  readonly kept: boolean;
}

/** Where durable memory is had: a keeper, or this process. Names are checked, and each is made once. */
export interface DurablePort {
  readonly kept: boolean;
  /** What there is already, by name. */
  readonly found: ReadonlyMap<string, DurablePlace>;
  /** @returns zeros. @throws OsError when there is no memory to be had. */
  make(name: string, size: number): DurablePlace;
  /** All of it is gone, as one step. */
  forget(): void;
}

export interface DurablePlace {
  readonly size: number;
  readonly view: MemoryView;
}
