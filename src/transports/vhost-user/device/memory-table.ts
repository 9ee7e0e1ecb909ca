import type { FrontendAddress, GuestAddress } from '../../../memory/address.js';
import { GuestMemory } from '../../../memory/guest-memory.js';
import type { MemoryView } from '../../../memory/memory-view.js';
import { overLimit } from '../../memory-limit.js';
import type { Mapping, Os } from '../../ports.js';
import type { RegionDescription } from '../payloads.js';
import { Refusal } from './refusal.js';

/** Regions that a front-end may have at a time, as libvhost-user has it: QEMU's 512 less what it keeps to itself. */
export const MAX_MEM_SLOTS = 509;

/** Regions begin at a multiple of this, in the guest and in their file. */
const PAGE_SIZE = 4096;

interface MappedRegion extends RegionDescription {
  readonly mapping: Mapping;
}

/** The guest's memory as the front-end hands it over, region by region, each with its place in the front-end's own memory. */
export class MemoryTable {
  /** The regions by guest-physical address. */
  readonly memory: GuestMemory = new GuestMemory();
  readonly #os: Os;
  readonly #most: number | undefined;
  #regions: MappedRegion[] = [];

  /** @param most - bytes that all regions may have together. */
  constructor(os: Os, most?: number) {
    this.#os = os;
    this.#most = most;
  }

  /** One past the last guest address. */
  get end(): number {
    return Math.max(0, ...this.#regions.map(({ guestAddress, size }) => guestAddress + size));
  }

  /**
   * Replaces all regions (SET_MEM_TABLE), or none when one of them can't be.
   *
   * @param fds - one for each region; taken over in any case.
   * @throws Refusal or OsError.
   */
  replace(regions: readonly RegionDescription[], fds: readonly number[]): void {
    const mapped: MappedRegion[] = [];
    let next = 0;
    try {
      this.#checkTotal(regions);
      for (const region of regions) {
        check(region, mapped);
        mapped.push({ ...region, mapping: this.#os.map(fds[next++]!, region.mmapOffset, region.size) });
      }
    } catch (error) {
      for (const fd of fds.slice(next)) this.#os.closeFd(fd);
      for (const { mapping } of mapped) mapping.release();
      throw error;
    }
    this.#swap(mapped);
  }

  /**
   * Adds one region (ADD_MEM_REG).
   *
   * @param fd - taken over in any case.
   * @throws Refusal or OsError.
   */
  add(region: RegionDescription, fd: number): void {
    try {
      if (this.#regions.length >= MAX_MEM_SLOTS)
        throw new Refusal(`there are ${MAX_MEM_SLOTS} regions already`);
      check(region, this.#regions);
      this.#checkTotal([...this.#regions, region]);
    } catch (error) {
      this.#os.closeFd(fd);
      throw error;
    }
    const mapping = this.#os.map(fd, region.mmapOffset, region.size);
    this.#regions.push({ ...region, mapping });
    this.memory.add({ start: region.guestAddress, view: mapping.view });
  }

  /**
   * Takes one region away (REM_MEM_REG): the one with this guest address, size and user address.
   *
   * @throws Refusal when there is none.
   */
  remove({ guestAddress, size, userAddress }: RegionDescription): void {
    const index = this.#regions.findIndex(
      (r) => r.guestAddress === guestAddress && r.size === size && r.userAddress === userAddress,
    );
    const [region] = index < 0 ? [] : this.#regions.splice(index, 1);
    if (region === undefined) {
      throw new Refusal(`no region of ${size} bytes is at ${hex(guestAddress)} and ${hex(userAddress)}`);
    }
    this.memory.remove(guestAddress, size);
    region.mapping.release();
  }

  /**
   * Where bytes of the front-end's own memory are in the guest's.
   *
   * @throws Refusal when they are not, or not in one piece.
   */
  translate(address: FrontendAddress, length: number): GuestAddress {
    for (const { guestAddress, userAddress, size } of this.#regions) {
      if (address >= userAddress && address + length <= userAddress + size) {
        return (guestAddress + (address - userAddress)) as GuestAddress;
      }
    }
    throw new Refusal(`no memory region has the ${length} bytes at ${hex(address)}`);
  }

  /** Bytes of the front-end's own memory, if they are in one region. */
  viewOf(address: number, length: number): MemoryView | undefined {
    for (const { guestAddress, userAddress, size } of this.#regions) {
      if (!(address >= userAddress && address + length <= userAddress + size)) continue;
      return this.memory.view((guestAddress + (address - userAddress)) as GuestAddress, length);
    }
    return undefined;
  }

  /** Gives all memory back. */
  close(): void {
    this.#swap([]);
  }

  #checkTotal(regions: readonly RegionDescription[]): void {
    const text = overLimit(
      regions.reduce((sum, { size }) => sum + size, 0),
      this.#most,
    );
    if (text !== undefined) throw new Refusal(text);
  }

  #swap(regions: MappedRegion[]): void {
    const old = this.#regions;
    this.#regions = regions;
    this.memory.clear();
    for (const { guestAddress, mapping } of regions) {
      this.memory.add({ start: guestAddress, view: mapping.view });
    }
    for (const { mapping } of old) mapping.release();
  }
}

/** Refuses a region that can't be, or can't be beside the others. */
function check(region: RegionDescription, others: readonly RegionDescription[]): void {
  const { guestAddress, size, userAddress, mmapOffset } = region;
  const where = `a region of ${size} bytes at ${hex(guestAddress)}`;
  if (!(size > 0)) throw new Refusal(`${where}: no possible size`);
  for (const start of [guestAddress, userAddress, mmapOffset]) {
    if (!(start + size <= Number.MAX_SAFE_INTEGER)) throw new Refusal(`${where}: ends above 2^53`);
  }
  if (guestAddress % PAGE_SIZE !== 0 || mmapOffset % PAGE_SIZE !== 0) {
    throw new Refusal(`${where}: it, or its offset ${hex(mmapOffset)}, is no multiple of ${PAGE_SIZE}`);
  }
  for (const other of others) {
    if (
      overlap(guestAddress, size, other.guestAddress, other.size) ||
      overlap(userAddress, size, other.userAddress, other.size)
    ) {
      throw new Refusal(`${where}: overlaps the one of ${other.size} bytes at ${hex(other.guestAddress)}`);
    }
  }
}

function overlap(a: number, aSize: number, b: number, bSize: number): boolean {
  return a < b + bSize && b < a + aSize;
}

function hex(address: number): string {
  return `0x${address.toString(16)}`;
}
