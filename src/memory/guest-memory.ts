import type { GuestAddress } from './address.js';
import type { DirtyLog } from './dirty-log.js';
import { LoggedView } from './logged-view.js';
import { MappedView } from './mapped-view.js';
import { MemoryError } from './memory-error.js';
import type { MemoryView } from './memory-view.js';

/** One contiguous stretch of guest-physical memory. */
export interface MemoryRegion {
  /** First guest-physical address. */
  readonly start: GuestAddress;
  /** The bytes; `view.length` is the region's size. */
  readonly view: MemoryView;
}

/**
 * A region, where it ends, and what finds a range in it by 32-bit integers alone: with the two halves of an address, a range of `length` bytes
 * from it on lies at `offset = (low - region.low) | 0` if `high === region.high`, `offset >= 0` and `length <= region.room - offset`, as signed
 * numbers. Others may lie in it too.
 */
export interface FoundRegion extends MemoryRegion {
  /** One past the last address. */
  readonly end: number;
  readonly low: number;
  readonly high: number;
  /** Bytes from the start on whose addresses have the same upper half: 2^31 - 1 at most. */
  readonly room: number;
}

/** A region with what each access needs of it, in one shape, whoever made the region. */
class Entry implements FoundRegion {
  readonly region: MemoryRegion;
  readonly view: MemoryView;
  readonly start: GuestAddress;
  readonly end: number;
  /** The same of the last region that follows without a gap: itself, if there is one. */
  joinedEnd: number;
  // Small integers from the start on, which is what the compiler then takes them for.
  readonly low: number = 0;
  readonly high: number = 0;
  readonly room: number = 0;

  constructor(region: MemoryRegion, log: DirtyLog | undefined) {
    const { view, start } = region;
    this.region = region;
    // One that can only be asked for is not written through its view.
    this.view = log === undefined || view.remote === true ? view : new LoggedView(view, start, log);
    this.start = region.start;
    this.end = region.start + region.view.length;
    this.joinedEnd = this.end;
    const low = start % 2 ** 32;
    this.low = low | 0;
    this.high = Math.floor(start / 2 ** 32) | 0;
    this.room = Math.min(view.length, 2 ** 32 - low, 0x7fff_ffff);
  }
}

/** A region without a byte, where there is none. */
export const NOWHERE: FoundRegion = new Entry(
  { start: 0 as GuestAddress, view: new MappedView(new ArrayBuffer(0)) },
  undefined,
);

/**
 * The guest's physical memory as a set of regions that come and go. Every address that a peer names passes
 * through here and is checked at each use, because a region may be gone by the next one.
 */
export class GuestMemory {
  /** By ascending address; they don't overlap. */
  #entries: readonly Entry[] = [];
  #regions: readonly MemoryRegion[] = [];
  /** The one that was found last: mostly the next one too. */
  #last: Entry | undefined;
  #generation = 0;
  #log: DirtyLog | undefined;

  /** Addresses are those of an IOMMU, which may allow reading and not writing, or the other way round. */
  readonly translated: boolean = false;

  /** Grows by one with each change of the regions: views taken under an older generation are stale. */
  get generation(): number {
    return this.#generation;
  }

  /** The regions, by ascending address. */
  get regions(): readonly MemoryRegion[] {
    return this.#regions;
  }

  /** @internal */
  get dirtyLog(): DirtyLog | undefined {
    return this.#log;
  }

  /**
   * Who hears of each write to this memory, and to views of it that are taken from now on: older ones are stale. None at first, which costs
   * nothing.
   *
   * @internal
   */
  set dirtyLog(log: DirtyLog | undefined) {
    if (log === this.#log) return;
    this.#log = log;
    this.#change(this.#entries.map(({ region }) => new Entry(region, log)));
  }

  /** @throws MemoryError `OVERLAP` when the region shares an address with another, or leaves the address space. */
  add(region: MemoryRegion): void {
    const entry = new Entry(region, this.#log);
    if (!(Number.isSafeInteger(entry.end) && entry.start >= 0 && entry.start < entry.end)) {
      throw new MemoryError('OUT_OF_RANGE', region.start, region.view.length);
    }
    for (const other of this.#entries) {
      if (entry.start < other.end && other.start < entry.end) {
        throw new MemoryError('OVERLAP', region.start, region.view.length);
      }
    }
    this.#change([...this.#entries, entry].sort((a, b) => a.start - b.start));
  }

  /** Takes out every region that lies wholly inside the range, and returns them. */
  remove(start: GuestAddress, length: number): MemoryRegion[] {
    const isGone = (entry: Entry) => entry.start >= start && entry.end <= start + length;
    const gone = this.#entries.filter(isGone);
    if (gone.length > 0) this.#change(this.#entries.filter((entry) => !isGone(entry)));
    return gone.map((entry) => entry.region);
  }

  /** Takes out all regions, and returns them. */
  clear(): MemoryRegion[] {
    const gone = [...this.#regions];
    this.#change([]);
    return gone;
  }

  /** Makes all views stale, though the regions are the same. @internal */
  renew(): void {
    this.#change(this.#entries);
  }

  /** Whether every byte of the range is there (it may cross from one region into the next). */
  covers(address: GuestAddress, length: number): boolean {
    const last = this.#last;
    if (last !== undefined && address >= last.start && address + length <= last.end) return length >= 0;
    return this.#coversAcross(address, length);
  }

  /** The region that was found last, or `NOWHERE`: mostly the next range lies in it too. */
  get recent(): FoundRegion {
    return this.#last ?? NOWHERE;
  }

  /** The region that the whole range lies in, if it lies in one: to read a few values there without a view of their own. */
  regionOf(address: GuestAddress, length: number): FoundRegion | undefined {
    const entry = this.#find(address);
    return entry !== undefined && length >= 0 && address + length <= entry.end ? entry : undefined;
  }

  /**
   * A view of a range that lies inside one region, such as a ring. It is stale once `generation` has changed.
   *
   * @throws MemoryError `UNMAPPED` when the range is not there, or spans two regions.
   */
  view(address: GuestAddress, length: number): MemoryView {
    const entry = this.#find(address);
    if (entry === undefined || !(length >= 0 && address + length <= entry.end)) {
      throw new MemoryError('UNMAPPED', address, length);
    }
    return entry.view.slice(address - entry.start, length);
  }

  /**
   * Copies guest memory to `into[start..start + length)`.
   *
   * @throws MemoryError `UNMAPPED` when a part of the range is not there; what was copied before it stays.
   */
  read(address: GuestAddress, into: Uint8Array, start = 0, length: number = into.length - start): void {
    const last = this.#last;
    if (last !== undefined && address >= last.start && address + length <= last.end) {
      last.view.copyOut(address - last.start, into, start, length);
    } else {
      this.#readAcross(address, into, start, length);
    }
  }

  #readAcross(address: number, into: Uint8Array, start: number, length: number): void {
    let done = 0;
    while (done < length) {
      const entry = this.#find(address + done);
      if (entry === undefined) throw new MemoryError('UNMAPPED', address, length);
      const here = Math.min(length - done, entry.end - (address + done));
      entry.view.copyOut(address + done - entry.start, into, start + done, here);
      done += here;
    }
  }

  /**
   * Copies `from[start..start + length)` to guest memory.
   *
   * @throws MemoryError `UNMAPPED` when a part of the range is not there; what was copied before it stays.
   */
  write(address: GuestAddress, from: Uint8Array, start = 0, length: number = from.length - start): void {
    const last = this.#last;
    if (last !== undefined && address >= last.start && address + length <= last.end) {
      last.view.copyIn(address - last.start, from, start, length);
    } else {
      this.#writeAcross(address, from, start, length);
    }
  }

  #writeAcross(address: number, from: Uint8Array, start: number, length: number): void {
    let done = 0;
    while (done < length) {
      const entry = this.#find(address + done);
      if (entry === undefined) throw new MemoryError('UNMAPPED', address, length);
      const here = Math.min(length - done, entry.end - (address + done));
      entry.view.copyIn(address + done - entry.start, from, start + done, here);
      done += here;
    }
  }

  #coversAcross(address: number, length: number): boolean {
    const entry = this.#find(address);
    return entry !== undefined && length >= 0 && address + length <= entry.joinedEnd;
  }

  #find(address: number): Entry | undefined {
    const last = this.#last;
    if (last !== undefined && address >= last.start && address < last.end) return last;
    let low = 0;
    let high = this.#entries.length - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const entry = this.#entries[middle]!;
      if (address >= entry.end) low = middle + 1;
      else if (address >= entry.start) {
        this.#last = entry;
        return entry;
      } else high = middle - 1; // `NaN` too: it ends up nowhere.
    }
    return undefined;
  }

  #change(entries: readonly Entry[]): void {
    let next: Entry | undefined;
    for (let i = entries.length - 1; i >= 0; i--) {
      const entry = entries[i]!;
      entry.joinedEnd = next?.start === entry.end ? next.joinedEnd : entry.end;
      next = entry;
    }
    this.#entries = entries;
    this.#regions = entries.map((entry) => entry.region);
    this.#last = undefined;
    this.#generation += 1;
  }
}
