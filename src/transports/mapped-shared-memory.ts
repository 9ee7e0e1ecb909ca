import type { MemoryView } from '../memory/memory-view.js';
import type { SharedWindow } from '../memory/shared-window.js';
import type { DriverSharedMemory } from '../virtio/shared-memory.js';

/** A driver's end of a region that is mapped into this process. */
export class MappedSharedMemory implements DriverSharedMemory {
  readonly #window: SharedWindow;

  constructor(window: SharedWindow) {
    this.#window = window;
  }

  get id(): number {
    return this.#window.id;
  }

  get size(): number {
    return this.#window.size;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    this.#window.read(offset, bytes);
    return bytes;
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    this.#window.write(offset, bytes);
  }

  view(offset: number, length: number): MemoryView {
    return this.#window.view(offset, length);
  }
}
