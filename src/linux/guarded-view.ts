import type { MemoryView } from '../memory/memory-view.js';
import type { PageGuard } from './page-guard.js';

/** Memory of a file whose pages may not be there to be had: each access asks for them first, and throws `MemoryError` if they are not. */
export class GuardedView implements MemoryView {
  readonly #view: MemoryView;
  readonly #guard: PageGuard;
  readonly #start: number;

  /** @param start - where the view begins, in bytes from the start of the guarded range. */
  constructor(view: MemoryView, guard: PageGuard, start: number) {
    this.#view = view;
    this.#guard = guard;
    this.#start = start;
  }

  get length(): number {
    return this.#view.length;
  }

  read16(offset: number): number {
    this.#ask(offset, 2);
    return this.#view.read16(offset);
  }

  read32(offset: number): number {
    this.#ask(offset, 4);
    return this.#view.read32(offset);
  }

  write16(offset: number, value: number): void {
    this.#ask(offset, 2);
    this.#view.write16(offset, value);
  }

  write32(offset: number, value: number): void {
    this.#ask(offset, 4);
    this.#view.write32(offset, value);
  }

  load16(offset: number): number {
    this.#ask(offset, 2);
    return this.#view.load16(offset);
  }

  loadWord(offset: number): number {
    this.#ask(offset, 4);
    return this.#view.loadWord(offset);
  }

  store16(offset: number, value: number): void {
    this.#ask(offset, 2);
    this.#view.store16(offset, value);
  }

  copyOut(offset: number, into: Uint8Array, start: number, length: number): void {
    this.#ask(offset, length);
    this.#view.copyOut(offset, into, start, length);
  }

  copyIn(offset: number, from: Uint8Array, start: number, length: number): void {
    this.#ask(offset, length);
    this.#view.copyIn(offset, from, start, length);
  }

  setBits(offset: number, bits: number): void {
    this.#ask(offset, 1);
    this.#view.setBits?.(offset, bits);
  }

  takeByte(offset: number): number {
    this.#ask(offset, 1);
    return this.#view.takeByte?.(offset) ?? 0;
  }

  slice(offset: number, length: number): GuardedView {
    return new GuardedView(this.#view.slice(offset, length), this.#guard, this.#start + offset);
  }

  /** What is outside is not asked for: the view itself refuses it. */
  #ask(offset: number, size: number): void {
    if (offset >= 0 && offset + size <= this.length) this.#guard.ask(this.#start + offset, size);
  }
}
