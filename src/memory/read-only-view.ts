import { MemoryError } from './memory-error.js';
import type { MemoryView } from './memory-view.js';

/** A view that is not to be written to: each try throws `MemoryError` `READ_ONLY`. It has no `words`, which could not tell. */
export class ReadOnlyView implements MemoryView {
  readonly #view: MemoryView;
  readonly #start: number;

  /** @param start - where it is, for messages. */
  constructor(view: MemoryView, start: number) {
    this.#view = view;
    this.#start = start;
  }

  get length(): number {
    return this.#view.length;
  }

  read16(offset: number): number {
    return this.#view.read16(offset);
  }

  read32(offset: number): number {
    return this.#view.read32(offset);
  }

  load16(offset: number): number {
    return this.#view.load16(offset);
  }

  loadWord(offset: number): number {
    return this.#view.loadWord(offset);
  }

  copyOut(offset: number, into: Uint8Array, start: number, length: number): void {
    this.#view.copyOut(offset, into, start, length);
  }

  write16(offset: number): void {
    this.#refuse(offset, 2);
  }

  write32(offset: number): void {
    this.#refuse(offset, 4);
  }

  store16(offset: number): void {
    this.#refuse(offset, 2);
  }

  copyIn(offset: number, _from: Uint8Array, _start: number, length: number): void {
    if (length > 0) this.#refuse(offset, length);
  }

  slice(offset: number, length: number): ReadOnlyView {
    return new ReadOnlyView(this.#view.slice(offset, length), this.#start + offset);
  }

  #refuse(offset: number, length: number): never {
    throw new MemoryError('READ_ONLY', this.#start + offset, length);
  }
}
