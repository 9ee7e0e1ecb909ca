import { MemoryError } from '../../../memory/memory-error.js';
import type { MemoryView } from '../../../memory/memory-view.js';

/**
 * Guest memory that a client did not share. It can only be asked for (see `DistantMemory`): each access that wants an answer at once throws
 * `MemoryError`.
 */
export class RemoteView implements MemoryView {
  readonly remote = true;
  readonly length: number;
  /** Whether the client lets it be written. */
  readonly writable: boolean;
  /** What the client calls its first byte. */
  readonly address: number;

  constructor(address: number, length: number, writable: boolean) {
    this.address = address;
    this.length = length;
    this.writable = writable;
  }

  read16(offset: number): never {
    return this.#refuse(offset, 2);
  }

  read32(offset: number): never {
    return this.#refuse(offset, 4);
  }

  write16(offset: number): never {
    return this.#refuse(offset, 2);
  }

  write32(offset: number): never {
    return this.#refuse(offset, 4);
  }

  load16(offset: number): never {
    return this.#refuse(offset, 2);
  }

  loadWord(offset: number): never {
    return this.#refuse(offset, 4);
  }

  store16(offset: number): never {
    return this.#refuse(offset, 2);
  }

  copyOut(offset: number, _into: Uint8Array, _start: number, length: number): void {
    this.#refuse(offset, length);
  }

  copyIn(offset: number, _from: Uint8Array, _start: number, length: number): void {
    this.#refuse(offset, length);
  }

  slice(offset: number, length: number): RemoteView {
    this.#check(offset, length);
    return new RemoteView(this.address + offset, length, this.writable);
  }

  #refuse(offset: number, length: number): never {
    this.#check(offset, length);
    throw new MemoryError('DISTANT', this.address + offset, length);
  }

  #check(offset: number, length: number): void {
    if (!(offset >= 0 && offset + length <= this.length)) {
      throw new RangeError(`offset ${offset} is outside this memory view`);
    }
  }
}
