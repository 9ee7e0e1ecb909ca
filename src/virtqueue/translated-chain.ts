import type { FoundRegion } from '../memory/guest-memory.js';
import { MemoryError } from '../memory/memory-error.js';
import { ACCESS_READ, ACCESS_WRITE, type TranslatedMemory } from '../memory/translated-memory.js';
import { HeldChain } from './held-chain.js';

/** A chain whose addresses are translated: it can be had when all of them are. */
export class TranslatedChain extends HeldChain {
  readonly #translations: TranslatedMemory;

  constructor(memory: TranslatedMemory, head: number) {
    super(memory, head);
    this.#translations = memory;
  }

  /** Whether all of it is translated for what it is for. What is not is asked for. */
  get reachable(): boolean {
    let all = true;
    for (let i = 0; i < this.segments; i++) {
      const access = i < this.border ? ACCESS_READ : ACCESS_WRITE;
      if (!this.#translations.has(this.addressOf(i), this.lengthOf(i), access)) all = false;
    }
    return all;
  }

  /** @throws MemoryError `UNTRANSLATED` until all of it is. */
  override fill(
    segments: number,
    border: number,
    readable: number,
    writable: number,
    home: FoundRegion,
  ): void {
    super.fill(segments, border, readable, writable, home);
    if (!this.reachable) throw new MemoryError('UNTRANSLATED', this.addressOf(0), readable + writable);
    this.#translations.served();
  }
}
