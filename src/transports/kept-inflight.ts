import type { InflightPlace } from '../virtqueue/inflight.js';
import type { Keep, KeptItem, Notes } from './keep.js';
import type { Mapping, Os } from './ports.js';

/** By which keys it is kept what is in flight on each queue. */
export interface InflightKeys {
  keyOf(queue: number): string;
  /** `undefined` for what keeps something else. */
  queueOf(item: KeptItem): number | undefined;
}

/** Memory for what is in flight on each queue, which a keeper has for the next process: from the start of a queue to its stop, in whichever process. */
export class KeptInflight {
  readonly #os: Os;
  readonly #keep: Keep;
  readonly #keys: InflightKeys;
  readonly #mappings = new Map<number, Mapping>();
  /** Of an earlier process, and not mapped yet. */
  readonly #left = new Map<number, number>();
  /** What was let go, and is on record still. */
  readonly #forgotten = new Set<number>();

  constructor(os: Os, keep: Keep, keys: InflightKeys) {
    this.#os = os;
    this.#keep = keep;
    this.#keys = keys;
    for (const item of keep.kept) {
      const queue = keys.queueOf(item);
      if (queue !== undefined) this.#left.set(queue, item.fds[0]!);
    }
  }

  /**
   * The memory of a queue, with what an earlier process left there, or zeros.
   *
   * @param size - bytes for so many entries.
   */
  placeOf(queue: number, size: number, entries: number): InflightPlace {
    return { view: this.#viewOf(queue, size), entries, ours: true };
  }

  #viewOf(queue: number, size: number): Mapping['view'] {
    const mapping = this.#mappings.get(queue) ?? this.#take(queue, size);
    if (mapping?.size === size) return mapping.view;
    this.#close(queue);
    const made = this.#os.createMemory('virtio-misc-inflight', size);
    this.#mappings.set(queue, made.mapping);
    this.#forgotten.delete(queue);
    // Before the first chain is taken.
    this.#keep.settle(0, {
      put: [{ key: this.#keys.keyOf(queue), bytes: new Uint8Array(), fds: [made.fd] }],
    });
    this.#os.closeFd(made.fd);
    return made.mapping.view;
  }

  /** What was in flight on a queue is nobody's any more; without a number, on all. That goes on record with `notes`. */
  forget(queue?: number): void {
    for (const each of [...this.#mappings.keys(), ...this.#left.keys()]) {
      if (queue !== undefined && each !== queue) continue;
      this.#close(each);
      this.#forgotten.add(each);
    }
  }

  /** What became of it since the last time, for the record, with whatever it came of. */
  notes(): Notes[] {
    if (this.#forgotten.size === 0) return [];
    const drop = [...this.#forgotten].map((queue) => this.#keys.keyOf(queue));
    this.#forgotten.clear();
    return [{ drop }];
  }

  close(): void {
    for (const queue of [...this.#mappings.keys(), ...this.#left.keys()]) this.#close(queue);
  }

  #take(queue: number, size: number): Mapping | undefined {
    const fd = this.#left.get(queue);
    if (fd === undefined) return undefined;
    this.#left.delete(queue);
    const mapping = this.#os.map(fd, 0, size);
    this.#mappings.set(queue, mapping);
    return mapping;
  }

  #close(queue: number): void {
    const fd = this.#left.get(queue);
    if (fd !== undefined) this.#os.closeFd(fd);
    this.#left.delete(queue);
    this.#mappings.get(queue)?.release();
    this.#mappings.delete(queue);
  }
}
