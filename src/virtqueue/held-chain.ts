import type { GuestAddress } from '../memory/address.js';
import { type FoundRegion, type GuestMemory, NOWHERE } from '../memory/guest-memory.js';
import { isSuspension, MemoryError } from '../memory/memory-error.js';
import type { Chain } from './chain.js';
import { LostChainError } from './lost-chain-error.js';

/** Segments that a chain has room for from the start, and (below) keeps room for between two uses. */
const FEW = 4;
const KEPT = 128;

/** While memory is out of reach for now. */
export interface Starving {
  /** Bytes that may still be kept, for all chains together. */
  room: number;
  /** Hears of a chain that can't go on. */
  starved(chain: HeldChain): void;
}

/** What is to be written when memory can be reached again, and where: a segment, and a byte in it. */
interface LateWrite {
  readonly segment: number;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/**
 * A chain that a device can hold, of a ring of any layout. Its object is used again and again: `fill`, `start` and
 * `end` are the queue's; the device sees it as a `Chain` only.
 */
export class HeldChain implements Chain {
  head: number;
  readonly #memory: GuestMemory;
  /**
   * For who walks the ring to fill: of each segment where it begins in the one region that all of it lies in, and its bytes, unsigned. Where there
   * is no such region, it begins at an address.
   */
  places: Int32Array = new Int32Array(2 * FEW);
  #addresses: Float64Array | undefined;
  #home: FoundRegion = NOWHERE;
  #generation = -1;
  #segments = 0;
  /** The first device-writable segment; `#segments` without one. */
  #border = 0;
  #inFlight = false;
  /** Its queue was closed before it was handed back. */
  #lost = false;
  /** In flight, with memory in reach. */
  #reachable = false;
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

  /** The first device-writable segment; as many as there are without one. */
  get border(): number {
    return this.#border;
  }

  /** Number of segments: the descriptors that hold at least one byte. */
  get segments(): number {
    return this.#segments;
  }

  /** Where its bytes are, in order: those that the device may write, or those that it may read. */
  segmentsOf(writable: boolean): { readonly address: GuestAddress; readonly length: number }[] {
    const [from, to] = writable ? [this.#border, this.#segments] : [0, this.#border];
    return Array.from({ length: to - from }, (_, i) => ({
      address: this.addressOf(from + i),
      length: this.lengthOf(from + i),
    }));
  }

  /**
   * Reads back the first of the bytes that were written.
   *
   * @param most - of them.
   * @throws MemoryError when they are out of reach.
   */
  writtenBytes(most: number): Uint8Array {
    const bytes = new Uint8Array(Math.min(this.#written, most));
    let done = 0;
    for (let segment = this.#border; done < bytes.length; segment++) {
      const here = Math.min(bytes.length - done, this.lengthOf(segment));
      this.#memory.read(this.addressOf(segment), bytes, done, here);
      done += here;
    }
    return bytes;
  }

  /** Where a segment begins. */
  addressOf(segment: number): GuestAddress {
    const home = this.#home;
    const address = home.room > 0 ? home.start + this.places[2 * segment]! : this.#addresses![segment]!;
    return address as GuestAddress;
  }

  /** Bytes of a segment. */
  lengthOf(segment: number): number {
    return this.places[2 * segment + 1]! >>> 0;
  }

  /**
   * Puts a segment, of at least one byte, that was not found in the region of those before it.
   *
   * @param home - that region.
   * @returns the region that the next ones are looked for in: `NOWHERE` once they are in more than one, or far into a large one; `undefined` when
   * there is no such memory.
   */
  putElsewhere(
    segment: number,
    home: FoundRegion,
    address: GuestAddress,
    length: number,
  ): FoundRegion | undefined {
    const region = this.#memory.regionOf(address, length);
    if (region === undefined && !this.#memory.covers(address, length)) return undefined;
    this.places[2 * segment + 1] = length;
    if (segment === 0 && region !== undefined && address - region.start + length <= region.room) {
      this.places[0] = address - region.start;
      return region;
    }
    if (this.#addresses === undefined || this.#addresses.length <= segment) {
      const addresses = new Float64Array(this.places.length / 2);
      if (this.#addresses !== undefined) addresses.set(this.#addresses);
      this.#addresses = addresses;
    }
    if (home.room > 0)
      for (let i = 0; i < segment; i++) this.#addresses[i] = home.start + this.places[2 * i]!;
    this.#addresses[segment] = address;
    return NOWHERE;
  }

  /**
   * Says what was put into `places`. `start` comes next.
   *
   * @param border - the first device-writable segment; `segments` without one.
   * @param readable - bytes of the segments before it, and `writable` of the others.
   * @param home - the region that all of it lies in, or `NOWHERE`.
   */
  fill(segments: number, border: number, readable: number, writable: number, home: FoundRegion): void {
    this.#home = home;
    this.#generation = this.#memory.generation;
    this.#segments = segments;
    this.#border = border;
    this.#readable = readable;
    this.#writable = writable;
  }

  /** Fills it with bytes from address 0 on: those that may be read, then those that may be written. */
  lay(readable: number, writable: number): void {
    const border = readable > 0 ? 1 : 0;
    this.places[1] = readable;
    this.places[2 * border + 1] = writable;
    this.#addresses ??= new Float64Array(FEW);
    this.#addresses[0] = 0;
    this.#addresses[border] = readable;
    this.fill(border + (writable > 0 ? 1 : 0), border, readable, writable, NOWHERE);
  }

  /** Makes room for more segments. */
  grow(): void {
    const places = new Int32Array(2 * this.places.length);
    places.set(this.places);
    this.places = places;
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
    this.#reachable = this.#starving === undefined;
  }

  /** Touches no memory from now on. */
  suspend(starving: Starving): void {
    this.#starving = starving;
    this.#reachable = false;
  }

  /** Writes what was kept. @throws MemoryError with the rest still kept. */
  resume(): void {
    this.#starving = undefined;
    this.#reachable = this.#inFlight;
    while (this.#late !== undefined) {
      this.#put(this.#late[0]!);
      this.#late.shift();
      if (this.#late.length === 0) this.#late = undefined;
    }
  }

  /** Its queue is closed: it will not be taken back. */
  lose(): void {
    this.#lost = true;
    this.end();
  }

  /** Takes it back: whoever still holds it can do nothing with it. */
  end(): void {
    this.#inFlight = false;
    this.#reachable = false;
    this.#starving = undefined;
    this.#starved = false;
    this.#late = undefined;
    // A hostile driver could make each head's chain long once, one after the other: that room is not kept.
    if (this.places.length > 2 * KEPT) this.#shrink();
  }

  #shrink(): void {
    this.#addresses = undefined;
    this.places = new Int32Array(2 * FEW);
  }

  read(into: Uint8Array, start = 0, length: number = into.length - start): number {
    const segment = this.#readSegment;
    const offset = this.#readOffset;
    const home = this.#home;
    // Mostly it lies in one piece.
    if (
      home.room === 0 ||
      !this.#reachable ||
      this.#generation !== this.#memory.generation ||
      segment >= this.#border ||
      !(length > 0 && offset + length <= this.lengthOf(segment)) ||
      !(start >= 0 && start + length <= into.length)
    ) {
      return this.#readOn(into, start, length);
    }
    try {
      home.view.copyOut(this.places[2 * segment]! + offset, into, start, length);
    } catch (error) {
      if (this.#starving !== undefined && isSuspension(error)) this.#starve(length);
      throw error;
    }
    this.#passRead(length);
    return length;
  }

  /** The same, whatever the place and length. */
  #readOn(into: Uint8Array, start: number, length: number): number {
    this.#check(into, start, length);
    const total = Math.min(length, this.#readable - this.#consumed);
    if (this.#starving !== undefined && total > 0) this.#starve(total);
    let done = 0;
    try {
      while (done < total) {
        const address = this.addressOf(this.#readSegment) + this.#readOffset;
        const here = Math.min(total - done, this.lengthOf(this.#readSegment) - this.#readOffset);
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
      const here = Math.min(left, this.lengthOf(this.#readSegment) - this.#readOffset);
      left -= here;
      this.#passRead(here);
    }
    return total;
  }

  write(from: Uint8Array, start = 0, length: number = from.length - start): number {
    const segment = this.#writeSegment;
    const offset = this.#writeOffset;
    const home = this.#home;
    if (
      home.room === 0 ||
      !this.#reachable ||
      this.#generation !== this.#memory.generation ||
      segment >= this.#segments ||
      !(length > 0 && offset + length <= this.lengthOf(segment)) ||
      !(start >= 0 && start + length <= from.length)
    ) {
      return this.#writeOn(from, start, length);
    }
    try {
      home.view.copyIn(this.places[2 * segment]! + offset, from, start, length);
      this.#passWritten(length);
    } catch (error) {
      if (this.#starving === undefined || !isSuspension(error)) throw error;
      this.#keep(from, start, length);
    }
    return length;
  }

  /** The same, whatever the place and length. */
  #writeOn(from: Uint8Array, start: number, length: number): number {
    this.#check(from, start, length);
    const total = Math.min(length, this.#writable - this.#written);
    if (this.#starving !== undefined) {
      this.#keep(from, start, total);
      return total;
    }
    let done = 0;
    try {
      while (done < total) {
        const address = this.addressOf(this.#writeSegment) + this.#writeOffset;
        const here = Math.min(total - done, this.lengthOf(this.#writeSegment) - this.#writeOffset);
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
      const here = Math.min(left, this.lengthOf(this.#writeSegment) - this.#writeOffset);
      left -= here;
      this.#passWritten(here);
    }
  }

  #put({ segment, offset, bytes }: LateWrite): void {
    for (let at = segment, skip = offset, done = 0; done < bytes.length; at++, skip = 0) {
      const here = Math.min(bytes.length - done, this.lengthOf(at) - skip);
      this.#memory.write((this.addressOf(at) + skip) as GuestAddress, bytes, done, here);
      done += here;
    }
  }

  #starve(length: number): never {
    this.#starved = true;
    for (const { bytes } of this.#late ?? []) this.#starving!.room += bytes.length;
    this.#late = undefined;
    this.#starving!.starved(this);
    throw new MemoryError('SUSPENDED', this.addressOf(0), length);
  }

  #passWritten(bytes: number): void {
    this.#written += bytes;
    this.#writeOffset += bytes;
    if (this.#writeOffset === this.lengthOf(this.#writeSegment)) {
      this.#writeSegment += 1;
      this.#writeOffset = 0;
    }
  }

  #passRead(bytes: number): void {
    this.#consumed += bytes;
    this.#readOffset += bytes;
    if (this.#readOffset === this.lengthOf(this.#readSegment)) {
      this.#readSegment += 1;
      this.#readOffset = 0;
    }
  }

  #check(bytes: Uint8Array, start: number, length: number): void {
    this.#checkInFlight();
    if (!(start >= 0 && length >= 0 && start + length <= bytes.length)) {
      throw new RangeError(`bytes ${start} + ${length} are not inside an array of ${bytes.length}`);
    }
  }

  #checkInFlight(): void {
    if (!this.#inFlight) throw stale(this.head, this.#lost);
  }
}

// Elsewhere: its caller is in every access, and small.
function stale(head: number, lost: boolean): TypeError {
  const text = `chain ${head} is stale: it was pushed, or its queue was closed`;
  return lost ? new LostChainError(text) : new TypeError(text);
}
