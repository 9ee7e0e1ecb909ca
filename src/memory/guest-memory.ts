import type { GuestAddress } from './address.js';
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
 * The guest's physical memory as a set of regions that come and go. Every address that a peer names passes
 * through here and is checked at each use, because a region may be gone by the next one.
 */
export class GuestMemory {
  #regions: MemoryRegion[] = [];
  #last: MemoryRegion | undefined;
  #generation = 0;

  /** Grows by one with each change of the regions: views taken under an older generation are stale. */
  get generation(): number {
    return this.#generation;
  }

  /** The regions, by ascending address. */
  get regions(): readonly MemoryRegion[] {
    return this.#regions;
  }

  /** @throws MemoryError `OVERLAP` when the region shares an address with another, or leaves the address space. */
  add(region: MemoryRegion): void {
    const end = region.start + region.view.length;
    if (!(Number.isSafeInteger(end) && region.start >= 0) || region.view.length === 0) {
      throw new MemoryError('OUT_OF_RANGE', region.start, region.view.length);
    }
    for (const other of this.#regions) {
      if (region.start < other.start + other.view.length && other.start < end) {
        throw new MemoryError('OVERLAP', region.start, region.view.length);
      }
    }
    this.#regions = [...this.#regions, region].sort((a, b) => a.start - b.start);
    this.#changed();
  }

  /** Takes out every region that lies wholly inside the range, and returns them. */
  remove(start: GuestAddress, length: number): MemoryRegion[] {
    const gone = this.#regions.filter((r) => r.start >= start && r.start + r.view.length <= start + length);
    if (gone.length > 0) {
      this.#regions = this.#regions.filter((r) => !gone.includes(r));
      this.#changed();
    }
    return gone;
  }

  /** Takes out all regions, and returns them. */
  clear(): MemoryRegion[] {
    const gone = this.#regions;
    this.#regions = [];
    this.#changed();
    return gone;
  }

  /** Whether every byte of the range is there (it may cross from one region into the next). */
  covers(address: GuestAddress, length: number): boolean {
    if (!(length >= 0)) return false;
    let at: number = address;
    let left = length;
    for (;;) {
      const region = this.#find(at);
      if (region === undefined) return false;
      const here = region.start + region.view.length - at;
      if (left <= here) return true;
      at += here;
      left -= here;
    }
  }

  /**
   * A view of a range that lies inside one region, such as a ring. It is stale once `generation` has changed.
   *
   * @throws MemoryError `UNMAPPED` when the range is not there, or spans two regions.
   */
  view(address: GuestAddress, length: number): MemoryView {
    const region = this.#find(address);
    const offset = region === undefined ? 0 : address - region.start;
    if (region === undefined || !(length >= 0 && offset + length <= region.view.length)) {
      throw new MemoryError('UNMAPPED', address, length);
    }
    return region.view.slice(offset, length);
  }

  /**
   * Copies guest memory to `into[start..start + length)`.
   *
   * @throws MemoryError `UNMAPPED` when a part of the range is not there; what was copied before it stays.
   */
  read(address: GuestAddress, into: Uint8Array, start = 0, length: number = into.length - start): void {
    let done = 0;
    while (done < length) {
      const region = this.#find(address + done);
      if (region === undefined) throw new MemoryError('UNMAPPED', address, length);
      const offset = address + done - region.start;
      const here = Math.min(length - done, region.view.length - offset);
      region.view.copyOut(offset, into, start + done, here);
      done += here;
    }
  }

  /**
   * Copies `from[start..start + length)` to guest memory.
   *
   * @throws MemoryError `UNMAPPED` when a part of the range is not there; what was copied before it stays.
   */
  write(address: GuestAddress, from: Uint8Array, start = 0, length: number = from.length - start): void {
    let done = 0;
    while (done < length) {
      const region = this.#find(address + done);
      if (region === undefined) throw new MemoryError('UNMAPPED', address, length);
      const offset = address + done - region.start;
      const here = Math.min(length - done, region.view.length - offset);
      region.view.copyIn(offset, from, start + done, here);
      done += here;
    }
  }

  #find(address: number): MemoryRegion | undefined {
    const last = this.#last;
    if (last !== undefined && address >= last.start && address < last.start + last.view.length) return last;
    let low = 0;
    let high = this.#regions.length - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const region = this.#regions[middle]!;
      if (address < region.start) high = middle - 1;
      else if (address >= region.start + region.view.length) low = middle + 1;
      else if (Number.isNaN(address)) return undefined;
      else {
        this.#last = region;
        return region;
      }
    }
    return undefined;
  }

  #changed(): void {
    this.#last = undefined;
    this.#generation += 1;
  }
}
