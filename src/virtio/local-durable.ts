import { MappedView } from '../memory/mapped-view.js';
import type { MemoryView } from '../memory/memory-view.js';
import type { DurablePlace, DurablePort } from './durable.js';

/** Durable memory of this process: it is as durable as this object. */
export class LocalDurable implements DurablePort {
  readonly kept: boolean;
  readonly #seen: (view: MemoryView) => MemoryView;
  readonly #places = new Map<string, DurablePlace>();

  /**
   * @param kept - whether it is there for the next process: it is not, unless that is only played.
   * @param seen - how it is seen by the device.
   */
  constructor(kept = false, seen: (view: MemoryView) => MemoryView = (view) => view) {
    this.kept = kept;
    this.#seen = seen;
  }

  get found(): ReadonlyMap<string, DurablePlace> {
    return this.#places;
  }

  make(name: string, size: number): DurablePlace {
    const place = { size, view: this.#seen(new MappedView(new ArrayBuffer(size))) };
    this.#places.set(name, place);
    return place;
  }

  forget(): void {
    this.#places.clear();
  }
}
