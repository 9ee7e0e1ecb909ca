import type { DirtyLog } from './dirty-log.js';
import type { MemoryView } from './memory-view.js';

/** A view whose writes are heard of. It has no `words`: through those it would be written unheard. */
export class LoggedView implements MemoryView {
  readonly length: number;
  /** The same memory, unheard. */
  readonly plain: MemoryView;
  /** Guest-physical address of its first byte. */
  readonly #start: number;
  readonly #log: DirtyLog;

  constructor(view: MemoryView, start: number, log: DirtyLog) {
    this.length = view.length;
    this.plain = view;
    this.#start = start;
    this.#log = log;
  }

  read16(offset: number): number {
    return this.plain.read16(offset);
  }

  read32(offset: number): number {
    return this.plain.read32(offset);
  }

  load16(offset: number): number {
    return this.plain.load16(offset);
  }

  loadWord(offset: number): number {
    return this.plain.loadWord(offset);
  }

  copyOut(offset: number, into: Uint8Array, start: number, length: number): void {
    this.plain.copyOut(offset, into, start, length);
  }

  write16(offset: number, value: number): void {
    this.plain.write16(offset, value);
    this.#log.wrote(this.#start + offset, 2);
  }

  write32(offset: number, value: number): void {
    this.plain.write32(offset, value);
    this.#log.wrote(this.#start + offset, 4);
  }

  store16(offset: number, value: number): void {
    this.plain.store16(offset, value);
    this.#log.wrote(this.#start + offset, 2);
  }

  copyIn(offset: number, from: Uint8Array, start: number, length: number): void {
    this.plain.copyIn(offset, from, start, length);
    if (length > 0) this.#log.wrote(this.#start + offset, length);
  }

  touch(): void {
    this.#log.wrote(this.#start, this.length);
  }

  slice(offset: number, length: number): LoggedView {
    return new LoggedView(this.plain.slice(offset, length), this.#start + offset, this.#log);
  }

  /** The same memory, which the log knows by another address. */
  as(start: number): LoggedView {
    return new LoggedView(this.plain, start, this.#log);
  }
}
