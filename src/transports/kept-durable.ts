import type { DurablePlace, DurablePort } from '../virtio/durable.js';
import type { Keep, KeptItem } from './keep.js';
import type { Mapping, Os } from './ports.js';

const PREFIX = 'durable/';

/** Whether an item is durable memory, which is the device's and no part of the session. */
export function isDurable({ key }: KeptItem): boolean {
  return key.startsWith(PREFIX);
}

/** What a device calls the durable memory that an item is; `undefined` for another item. */
export function durableName(item: KeptItem): string | undefined {
  return isDurable(item) ? item.key.slice(PREFIX.length) : undefined;
}

/** Durable memory that another process keeps. */
export class KeptDurable implements DurablePort {
  readonly kept: boolean = true;
  readonly #os: Os;
  readonly #keep: Keep;
  readonly #places = new Map<string, DurablePlace & { release(): void }>();

  /** Takes what there is of it among what was kept, descriptors too. */
  constructor(os: Os, keep: Keep) {
    this.#os = os;
    this.#keep = keep;
    for (const item of keep.kept) {
      if (!isDurable(item)) continue;
      const size = Number(new TextDecoder().decode(item.bytes));
      this.#put(item.key.slice(PREFIX.length), size, os.map(item.fds[0]!, 0, size));
    }
  }

  get found(): ReadonlyMap<string, DurablePlace> {
    return this.#places;
  }

  make(name: string, size: number): DurablePlace {
    const { fd, mapping } = this.#os.createMemory('virtio-misc-durable', size);
    // Before anything is written to it.
    const bytes = new TextEncoder().encode(`${size}`);
    this.#keep.settle(0, { put: [{ key: `${PREFIX}${name}`, bytes, fds: [fd] }] });
    this.#os.closeFd(fd);
    return this.#put(name, size, mapping);
  }

  forget(): void {
    this.#keep.settle(0, { drop: [`${PREFIX}*`] });
    this.close();
  }

  /** Lets go of it here; it is kept. Whoever writes to it from now on writes nowhere. */
  close(): void {
    for (const place of this.#places.values()) place.release();
    this.#places.clear();
  }

  #put(name: string, size: number, mapping: Mapping): DurablePlace {
    const place = { size, view: mapping.view, release: () => mapping.release() };
    this.#places.set(name, place);
    return place;
  }
}
