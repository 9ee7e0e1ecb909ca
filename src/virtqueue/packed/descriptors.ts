import type { GuestBuffer } from '../../memory/guest-allocator.js';
import type { MemoryView } from '../../memory/memory-view.js';
import { PVIRTQ_DESC, PVIRTQ_DESC_SIZE, VIRTQ_DESC_F_WRITE } from './layout.js';

/** Writes a descriptor but for its flags (VIRTIO 1.3 §2.8.13). */
export function writeElement(
  view: MemoryView,
  index: number,
  address: number,
  length: number,
  id: number,
): void {
  const at = PVIRTQ_DESC_SIZE * index;
  view.write32(at + PVIRTQ_DESC.addr, address >>> 0);
  view.write32(at + PVIRTQ_DESC.addr + 4, Math.floor(address / 0x1_0000_0000));
  view.write32(at + PVIRTQ_DESC.len, length);
  view.write16(at + PVIRTQ_DESC.id, id);
}

/** Fills an indirect table (§2.8.7): all flags but F_WRITE are reserved there, and so is the id. */
export function fillTable(
  table: MemoryView,
  first: number,
  readable: readonly GuestBuffer[],
  writable: readonly GuestBuffer[],
): void {
  let index = first;
  for (let i = 0; i < readable.length; i++, index++) writeEntry(table, index, readable[i]!, 0);
  for (let i = 0; i < writable.length; i++, index++) {
    writeEntry(table, index, writable[i]!, VIRTQ_DESC_F_WRITE);
  }
}

function writeEntry(table: MemoryView, index: number, { address, length }: GuestBuffer, flags: number): void {
  writeElement(table, index, address, length, 0);
  table.write16(PVIRTQ_DESC_SIZE * index + PVIRTQ_DESC.flags, flags);
}
