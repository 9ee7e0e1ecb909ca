import type { MemoryView } from '../../memory/memory-view.js';

/** One access to a `WatchedView`. `load` and `store` are the sequentially consistent ones. */
export type AccessKind = 'read' | 'write' | 'load' | 'store';

/** @param offset - bytes from the start of the view that was watched first, whatever slice the access went through. */
export type AccessHook = (kind: AccessKind, offset: number, length: number) => void;

/** Hooks around each access: what another thread might do there, or a note of what happened. */
export interface AccessHooks {
  readonly before?: AccessHook;
  readonly after?: AccessHook;
  /** Whether there are `words`, whose accesses are told of too: unless told, as the view itself has it. */
  readonly byWords?: boolean;
}

/**
 * A view that tells of each access: to see what a queue reads and in which order, and to change memory under it. Stricter
 * than a mapped one: a value that is not aligned to its size in the view is a `RangeError`.
 */
export class WatchedView implements MemoryView {
  readonly #view: MemoryView;
  readonly #hooks: AccessHooks;
  readonly #base: number;

  constructor(view: MemoryView, hooks: AccessHooks, base = 0) {
    this.#view = view;
    this.#hooks = hooks;
    this.#base = base;
  }

  get length(): number {
    return this.#view.length;
  }

  get words(): Int32Array | undefined {
    const words = this.#hooks.byWords === false ? undefined : this.#view.words;
    if (words === undefined) return undefined;
    return new Proxy(words, {
      get: (_, key) => this.#tellWord('read', 4 * Number(key), 4, () => words[Number(key)]),
      set: (_, key, value: number) => {
        this.#tellWord('write', 4 * Number(key), 4, () => {
          words[Number(key)] = value;
        });
        return true;
      },
    });
  }

  read16(offset: number): number {
    return this.#tellWord('read', offset, 2, () => this.#view.read16(offset));
  }

  read32(offset: number): number {
    return this.#tellWord('read', offset, 4, () => this.#view.read32(offset));
  }

  write16(offset: number, value: number): void {
    this.#tellWord('write', offset, 2, () => this.#view.write16(offset, value));
  }

  write32(offset: number, value: number): void {
    this.#tellWord('write', offset, 4, () => this.#view.write32(offset, value));
  }

  load16(offset: number): number {
    return this.#tellWord('load', offset, 2, () => this.#view.load16(offset));
  }

  loadWord(offset: number): number {
    return this.#tellWord('load', offset, 4, () => this.#view.loadWord(offset));
  }

  store16(offset: number, value: number): void {
    this.#tellWord('store', offset, 2, () => this.#view.store16(offset, value));
  }

  copyOut(offset: number, into: Uint8Array, start: number, length: number): void {
    this.#tell('read', offset, length, () => this.#view.copyOut(offset, into, start, length));
  }

  copyIn(offset: number, from: Uint8Array, start: number, length: number): void {
    this.#tell('write', offset, length, () => this.#view.copyIn(offset, from, start, length));
  }

  slice(offset: number, length: number): MemoryView {
    return new WatchedView(this.#view.slice(offset, length), this.#hooks, this.#base + offset);
  }

  #tellWord<T>(kind: AccessKind, offset: number, size: 2 | 4, access: () => T): T {
    if (offset % size !== 0) throw new RangeError(`${size} bytes at ${offset} are not aligned`);
    return this.#tell(kind, offset, size, access);
  }

  #tell<T>(kind: AccessKind, offset: number, length: number, access: () => T): T {
    this.#hooks.before?.(kind, this.#base + offset, length);
    const result = access();
    this.#hooks.after?.(kind, this.#base + offset, length);
    return result;
  }
}
