import type { GuestAddress } from './address.js';
import { GuestMemory } from './guest-memory.js';
import { MemoryError } from './memory-error.js';
import type { MemoryView } from './memory-view.js';
import { ReadOnlyView } from './read-only-view.js';

/** A shared memory region (VIRTIO 1.3 §2.10), and what is mapped in it now. Places are offsets from its start. */
export class SharedWindow {
  readonly id: number;
  /** Bytes. */
  readonly size: number;
  readonly #memory = new GuestMemory();
  /** What lets each mapping go, by its offset. */
  readonly #mapped = new Map<number, { readonly length: number; readonly release: () => void }>();

  constructor(id: number, size: number) {
    this.id = id;
    this.size = size;
  }

  /** What is mapped now. */
  get ranges(): readonly { readonly offset: number; readonly length: number }[] {
    return [...this.#mapped].map(([offset, { length }]) => ({ offset, length }));
  }

  /** @throws MemoryError `UNMAPPED` when a part of it is not there. */
  read(offset: number, into: Uint8Array): void {
    this.#check(offset, into.length);
    this.#memory.read(offset as GuestAddress, into);
  }

  /** @throws MemoryError `UNMAPPED`, or `READ_ONLY`. */
  write(offset: number, from: Uint8Array): void {
    this.#check(offset, from.length);
    this.#memory.write(offset as GuestAddress, from);
  }

  /** @throws MemoryError `UNMAPPED` when a part of it is not there, or it spans two mappings. */
  view(offset: number, length: number): MemoryView {
    return this.#memory.view(offset as GuestAddress, length);
  }

  /**
   * Maps something where nothing is.
   *
   * @param release - called once, when it is taken out; not when this throws.
   * @throws MemoryError `OVERLAP`, or `OUT_OF_RANGE`.
   */
  put(offset: number, view: MemoryView, writable: boolean, release: () => void): void {
    const { length } = view;
    if (!(offset >= 0 && offset + length <= this.size)) throw new MemoryError('OUT_OF_RANGE', offset, length);
    const start = offset as GuestAddress;
    this.#memory.add({ start, view: writable ? view : new ReadOnlyView(view, offset) });
    this.#mapped.set(offset, { length, release });
  }

  /** Whether anything of the range is mapped. */
  touches(offset: number, length: number): boolean {
    return this.ranges.some(
      (range) => offset < range.offset + range.length && range.offset < offset + length,
    );
  }

  /** Takes a whole mapping out. @returns `false` when there is none that is just this. */
  take(offset: number, length: number): boolean {
    const mapped = this.#mapped.get(offset);
    if (mapped?.length !== length) return false;
    this.#mapped.delete(offset);
    this.#memory.remove(offset as GuestAddress, length);
    mapped.release();
    return true;
  }

  /** Takes all mappings out. */
  clear(): void {
    for (const { offset, length } of this.ranges) this.take(offset, length);
  }

  /** All of it, or nothing. */
  #check(offset: number, length: number): void {
    if (length > 0 && !this.#memory.covers(offset as GuestAddress, length))
      throw new MemoryError('UNMAPPED', offset, length);
  }
}
