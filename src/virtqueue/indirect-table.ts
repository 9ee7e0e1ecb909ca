import { type GuestAddress, joinAddress } from '../memory/address.js';
import { type FoundRegion, type GuestMemory, NOWHERE } from '../memory/guest-memory.js';
import { MappedView } from '../memory/mapped-view.js';
import type { MemoryView } from '../memory/memory-view.js';

/**
 * Descriptors that an indirect table may have on a queue that is smaller than that. VIRTIO 1.3 §2.7.5.3.1 forbids a driver to go beyond the
 * queue size; drivers do all the same, and QEMU and Linux's vhost take 1024.
 */
export const INDIRECT_MOST = 1024;

/** Finds a table that memory is known to cover, where memory can't be looked into. */
export type TableAt = (address: GuestAddress, length: number) => MemoryView;

/** Where a table was found: a view, and the bytes in it before the table, a multiple of 4. The same object each time, so that none is made for a chain. */
export const table: { view: MemoryView; offset: number } = { view: NOWHERE.view, offset: 0 };

/**
 * Finds an indirect table by the two halves of its address: see `table`.
 *
 * @param home - the region where it mostly is.
 * @param length - in bytes: less than 2^31.
 * @returns `false` when there is no such memory.
 */
export function findTable(
  memory: GuestMemory,
  home: FoundRegion,
  low: number,
  high: number,
  length: number,
  tableAt: TableAt | undefined,
): boolean {
  const offset = (low - home.low) | 0;
  const isThere = high === home.high && offset >= 0 && length <= home.room - offset && (offset & 3) === 0;
  if (!isThere || tableAt !== undefined || memory.translated) {
    return findElsewhere(memory, joinAddress(low, high), length, tableAt);
  }
  table.view = home.view;
  table.offset = offset;
  return true;
}

/** The same, wherever it is. */
function findElsewhere(
  memory: GuestMemory,
  address: GuestAddress,
  length: number,
  tableAt: TableAt | undefined,
): boolean {
  if (!memory.covers(address, length)) return false;
  const region = tableAt === undefined ? memory.regionOf(address, length) : undefined;
  const offset = region === undefined ? 0 : address - region.start;
  if (region !== undefined && (offset & 3) === 0) {
    table.view = region.view;
    table.offset = offset;
  } else {
    table.view = tableAt?.(address, length) ?? tableCopy(memory, address, length);
    table.offset = 0;
  }
  return true;
}

/** An indirect table that lies across regions, or unaligned: odd, but nothing forbids it. */
function tableCopy(memory: GuestMemory, address: GuestAddress, length: number): MemoryView {
  const bytes = new Uint8Array(length);
  memory.read(address, bytes);
  return new MappedView(bytes.buffer);
}

/** What is wrong with a range that is not guest memory: for messages. */
export function rangeText(address: GuestAddress, length: number): string {
  const where = Number.isNaN(address) ? 'an address above 2^53 - 1' : `0x${address.toString(16)}`;
  return `${where} + ${length} bytes is not guest memory`;
}
