import type { MemoryView } from '../memory/memory-view.js';
import type { Keep, KeptItem } from './keep.js';
import type { Mapping, Os } from './ports.js';

const PREFIX = 'inflight/';

/** Memory for what is in flight on each queue, which a keeper has for the next process. */
export class KeptInflight {
  readonly #os: Os;
  readonly #keep: Keep;
  readonly #mappings = new Map<number, Mapping>();
  /** Of an earlier process, and not mapped yet. */
  readonly #left = new Map<number, number>();

  constructor(os: Os, keep: Keep) {
    this.#os = os;
    this.#keep = keep;
    for (const { key, fds } of keep.kept)
      if (isInflight(key)) this.#left.set(Number(key.slice(PREFIX.length)), fds[0]!);
  }

  /** The memory of a queue, with what an earlier process left there, or zeros. */
  placeOf(queue: number, size: number): MemoryView {
    const mapping = this.#mappings.get(queue) ?? this.#take(queue, size);
    if (mapping?.size === size) return mapping.view;
    this.#close(queue);
    const made = this.#os.createMemory('virtio-misc-inflight', size);
    this.#mappings.set(queue, made.mapping);
    // Before the first chain is taken.
    this.#keep.settle(0, { put: [{ key: PREFIX + queue, bytes: new Uint8Array(), fds: [made.fd] }] });
    this.#os.closeFd(made.fd);
    return made.mapping.view;
  }

  /** What was in flight on a queue is nobody's any more; without a number, on all. */
  forget(queue?: number): void {
    const all = [...this.#mappings.keys(), ...this.#left.keys()];
    const gone = queue === undefined ? all : all.filter((each) => each === queue);
    if (gone.length === 0) return;
    for (const each of gone) this.#close(each);
    this.#keep.settle(0, { drop: [queue === undefined ? `${PREFIX}*` : PREFIX + queue] });
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

/** Whether what is kept is such memory. */
export function isInflight(key: KeptItem['key']): boolean {
  return key.startsWith(PREFIX);
}
