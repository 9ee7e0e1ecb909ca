import type { GuestAddress } from '../../memory/address.js';
import type { GuestMemory } from '../../memory/guest-memory.js';
import { isSuspension, MemoryError } from '../../memory/memory-error.js';
import type { Chain } from '../chain.js';

/** Segments that a chain has room for from the start, and (below) keeps room for between two uses. */
const FEW = 4;
const KEPT = 128;

/** While memory is out of reach for now. */
export interface Starving {
  /** Bytes that may still be kept, for all chains together. */
  room: number;
  /** Hears of a chain that can't go on. */
  starved(chain: SplitChain): void;
}

/** What is to be written when memory can be reached again, and where: a segment, and a byte in it. */
interface LateWrite {
  readonly segment: number;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/**
 * A chain of a split virtqueue. There is one object per head index, used again and again: `begin`, `add...`, `start` and
 * `end` are the queue's; the device sees it as a `Chain` only.
 */
export class SplitChain implements Chain {
  readonly head: number;
  readonly #memory: GuestMemory;
  #addresses = new Float64Array(FEW);
  #lengths = new Uint32Array(FEW);
  #segments = 0;
  /** The first device-writable segment, if there is one. */
  #border = 0;
  #inFlight = false;
  #starving: Starving | undefined;
  #starved = false;
  #late: LateWrite[] | undefined;
  #readable = 0;
  #writable = 0;
  #consumed = 0;
  #written = 0;
  /** Where the next read and the next write go: a segment, and a byte in it. */
  #readSegment = 0;
  #readOffset = 0;
  #writeSegment = 0;
  #writeOffset = 0;

  constructor(memory: GuestMemory, head: number) {
    this.#memory = memory;
    this.head = head;
  }

  get readable(): number {
    return this.#readable;
  }

  get writable(): number {
    return this.#writable;
  }

  get consumed(): number {
    return this.#consumed;
  }

  get written(): number {
    return this.#written;
  }

  /** Whether the device holds it: popped and not pushed. */
  get inFlight(): boolean {
    return this.#inFlight;
  }

  /** Whether it could not be read or written since it was popped. */
  get starved(): boolean {
    return this.#starved;
  }

  /** Number of segments: the descriptors that hold at least one byte. */
  get segments(): number {
    return this.#segments;
  }

  /** Where its bytes are, in order: those that the device may write, or those that it may read. */
  segmentsOf(writable: boolean): { readonly address: GuestAddress; readonly length: number }[] {
    const border = this.#writable === 0 ? this.#segments : this.#border;
    const [from, to] = writable ? [border, this.#segments] : [0, border];
    return Array.from({ length: to - from }, (_, i) => ({
      address: this.#addresses[from + i] as GuestAddress,
      length: this.#lengths[from + i]!,
    }));
  }

  /** Empties it, to be filled by `addReadable`, then `addWritable`, then `start`. */
  begin(): void {
    this.#segments = 0;
    this.#readable = 0;
    this.#writable = 0;
  }

  addReadable(address: GuestAddress, length: number): void {
    this.#add(address, length);
    this.#readable += length;
  }

  addWritable(address: GuestAddress, length: number): void {
    if (this.#writable === 0) this.#border = this.#segments;
    this.#add(address, length);
    this.#writable += length;
  }

  /** Gives it to the device. */
  start(): void {
    this.#consumed = 0;
    this.#written = 0;
    this.#readSegment = 0;
    this.#readOffset = 0;
    this.#writeSegment = this.#border;
    this.#writeOffset = 0;
    this.#starved = false;
    this.#inFlight = true;
  }

  /** Touches no memory from now on. */
  suspend(starving: Starving): void {
    this.#starving = starving;
  }

  /** Writes what was kept. @throws MemoryError with the rest still kept. */
  resume(): void {
    this.#starving = undefined;
    while (this.#late !== undefined) {
      this.#put(this.#late[0]!);
      this.#late.shift();
      if (this.#late.length === 0) this.#late = undefined;
    }
  }

  /** Takes it back: whoever still holds it can do nothing with it. */
  end(): void {
    this.#inFlight = false;
    this.#starving = undefined;
    this.#starved = false;
    this.#late = undefined;
    // A hostile driver could make each head's chain long once, one after the other: that room is not kept.
    if (this.#lengths.length > KEPT) {
      this.#addresses = new Float64Array(FEW);
      this.#lengths = new Uint32Array(FEW);
    }
  }

  read(into: Uint8Array, start = 0, length: number = into.length - start): number {
    this.#check(into, start, length);
    const total = Math.min(length, this.#readable - this.#consumed);
    if (this.#starving !== undefined && total > 0) this.#starve(total);
    let done = 0;
    try {
      while (done < total) {
        const address = this.#addresses[this.#readSegment]! + this.#readOffset;
        const here = Math.min(total - done, this.#lengths[this.#readSegment]! - this.#readOffset);
        this.#memory.read(address as GuestAddress, into, start + done, here);
        done += here;
        this.#passRead(here);
      }
    } catch (error) {
      if (this.#starving !== undefined && isSuspension(error)) this.#starve(total - done);
      throw error;
    }
    return total;
  }

  readRest(): Uint8Array {
    const rest = new Uint8Array(this.#readable - this.#consumed);
    this.read(rest);
    return rest;
  }

  skip(length: number): number {
    this.#checkInFlight();
    if (!(length >= 0)) throw new RangeError(`can't skip ${length} bytes`);
    const total = Math.min(length, this.#readable - this.#consumed);
    let left = total;
    while (left > 0) {
      const here = Math.min(left, this.#lengths[this.#readSegment]! - this.#readOffset);
      left -= here;
      this.#passRead(here);
    }
    return total;
  }

  write(from: Uint8Array, start = 0, length: number = from.length - start): number {
    this.#check(from, start, length);
    const total = Math.min(length, this.#writable - this.#written);
    if (this.#starving !== undefined) {
      this.#keep(from, start, total);
      return total;
    }
    let done = 0;
    try {
      while (done < total) {
        const address = this.#addresses[this.#writeSegment]! + this.#writeOffset;
        const here = Math.min(total - done, this.#lengths[this.#writeSegment]! - this.#writeOffset);
        this.#memory.write(address as GuestAddress, from, start + done, here);
        done += here;
        this.#passWritten(here);
      }
    } catch (error) {
      if (this.#starving === undefined || !isSuspension(error)) throw error;
      this.#keep(from, start + done, total - done);
    }
    return total;
  }

  /** Keeps for later what can't be written now. */
  #keep(from: Uint8Array, start: number, length: number): void {
    const starving = this.#starving!;
    // One that is starved will be served anew, whatever is written into it now.
    if (length > starving.room && !this.#starved) this.#starve(length);
    if (length > 0 && !this.#starved) {
      starving.room -= length;
      this.#late ??= [];
      const bytes = from.slice(start, start + length);
      this.#late.push({ segment: this.#writeSegment, offset: this.#writeOffset, bytes });
    }
    for (let left = length; left > 0; ) {
      const here = Math.min(left, this.#lengths[this.#writeSegment]! - this.#writeOffset);
      left -= here;
      this.#passWritten(here);
    }
  }

  #put({ segment, offset, bytes }: LateWrite): void {
    for (let at = segment, skip = offset, done = 0; done < bytes.length; at++, skip = 0) {
      const here = Math.min(bytes.length - done, this.#lengths[at]! - skip);
      this.#memory.write((this.#addresses[at]! + skip) as GuestAddress, bytes, done, here);
      done += here;
    }
  }

  #starve(length: number): never {
    this.#starved = true;
    for (const { bytes } of this.#late ?? []) this.#starving!.room += bytes.length;
    this.#late = undefined;
    this.#starving!.starved(this);
    throw new MemoryError('SUSPENDED', this.#addresses[0]!, length);
  }

  #passWritten(bytes: number): void {
    this.#written += bytes;
    this.#writeOffset += bytes;
    if (this.#writeOffset === this.#lengths[this.#writeSegment]) {
      this.#writeSegment += 1;
      this.#writeOffset = 0;
    }
  }

  #passRead(bytes: number): void {
    this.#consumed += bytes;
    this.#readOffset += bytes;
    if (this.#readOffset === this.#lengths[this.#readSegment]) {
      this.#readSegment += 1;
      this.#readOffset = 0;
    }
  }

  #add(address: GuestAddress, length: number): void {
    const at = this.#segments;
    if (at === this.#lengths.length) this.#grow();
    this.#addresses[at] = address;
    this.#lengths[at] = length;
    this.#segments = at + 1;
  }

  #grow(): void {
    const addresses = new Float64Array(2 * this.#addresses.length);
    addresses.set(this.#addresses);
    this.#addresses = addresses;
    const lengths = new Uint32Array(2 * this.#lengths.length);
    lengths.set(this.#lengths);
    this.#lengths = lengths;
  }

  #check(bytes: Uint8Array, start: number, length: number): void {
    this.#checkInFlight();
    if (!(start >= 0 && length >= 0 && start + length <= bytes.length)) {
      throw new RangeError(`bytes ${start} + ${length} are not inside an array of ${bytes.length}`);
    }
  }

  #checkInFlight(): void {
    if (!this.#inFlight) {
      throw new TypeError(`chain ${this.head} is stale: it was pushed, or its queue was closed`);
    }
  }
}
