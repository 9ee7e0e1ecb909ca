import { MemoryError } from '../../memory/memory-error.js';
import type { MemoryView } from '../../memory/memory-view.js';

/** Reaches memory that the peer keeps to itself, with messages. Both calls return when the bytes are there. */
export interface RemoteMemory {
  /** @throws MemoryError when the peer refuses, or is gone. */
  read(address: number, into: Uint8Array, start: number, length: number): void;
  write(address: number, from: Uint8Array, start: number, length: number): void;
}

/** Whether a region is still the client's to be reached; shared by all views of it. */
export interface RemoteRegion {
  mapped: boolean;
  readonly writable: boolean;
}

/** Guest memory that a client did not share: each access is a message and its answer, in order, so none needs a barrier. */
export class RemoteView implements MemoryView {
  readonly remote = true;
  readonly length: number;
  readonly #memory: RemoteMemory;
  readonly #region: RemoteRegion;
  readonly #address: number;
  readonly #word: DataView = new DataView(new ArrayBuffer(4));
  readonly #wordBytes: Uint8Array = new Uint8Array(this.#word.buffer);

  constructor(memory: RemoteMemory, region: RemoteRegion, address: number, length: number) {
    this.#memory = memory;
    this.#region = region;
    this.#address = address;
    this.length = length;
  }

  read16(offset: number): number {
    this.copyOut(offset, this.#wordBytes, 0, 2);
    return this.#word.getUint16(0, true);
  }

  read32(offset: number): number {
    this.copyOut(offset, this.#wordBytes, 0, 4);
    return this.#word.getUint32(0, true);
  }

  write16(offset: number, value: number): void {
    this.#word.setUint16(0, value, true);
    this.copyIn(offset, this.#wordBytes, 0, 2);
  }

  write32(offset: number, value: number): void {
    this.#word.setUint32(0, value, true);
    this.copyIn(offset, this.#wordBytes, 0, 4);
  }

  load16(offset: number): number {
    return this.read16(offset);
  }

  store16(offset: number, value: number): void {
    this.write16(offset, value);
  }

  copyOut(offset: number, into: Uint8Array, start: number, length: number): void {
    this.#check(offset, length);
    if (length > 0) this.#memory.read(this.#address + offset, into, start, length);
  }

  copyIn(offset: number, from: Uint8Array, start: number, length: number): void {
    this.#check(offset, length);
    if (!this.#region.writable) throw new MemoryError('UNMAPPED', this.#address + offset, length);
    if (length > 0) this.#memory.write(this.#address + offset, from, start, length);
  }

  slice(offset: number, length: number): RemoteView {
    if (offset + length > this.length) throw new RangeError(`offset ${offset} is outside this memory view`);
    return new RemoteView(this.#memory, this.#region, this.#address + offset, length);
  }

  #check(offset: number, length: number): void {
    if (offset + length > this.length) throw new RangeError(`offset ${offset} is outside this memory view`);
    if (!this.#region.mapped) throw new MemoryError('UNMAPPED', this.#address + offset, length);
  }
}
