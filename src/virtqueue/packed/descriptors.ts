import type { GuestBuffer } from '../../memory/guest-allocator.js';
import type { MemoryView } from '../../memory/memory-view.js';
import { PVIRTQ_DESC, PVIRTQ_DESC_SIZE, VIRTQ_DESC_F_WRITE } from './layout.js';

/*
 * Descriptors as a driver writes and reads them (VIRTIO 1.3 §2.8.13): by the words of the view, where it has some.
 */

const DESC_WORDS: number = PVIRTQ_DESC_SIZE / 4;
const ABOVE = 0x1_0000_0000;

/** Writes the address and length of a descriptor. */
export function writeElement(
  view: MemoryView,
  words: Int32Array | undefined,
  index: number,
  address: number,
  length: number,
): void {
  if (words !== undefined) {
    const at = DESC_WORDS * index;
    words[at] = address;
    words[at + 1] = address < ABOVE ? 0 : address / ABOVE;
    words[at + 2] = length;
    return;
  }
  const at = PVIRTQ_DESC_SIZE * index;
  view.write32(at + PVIRTQ_DESC.addr, address >>> 0);
  view.write32(at + PVIRTQ_DESC.addr + 4, Math.floor(address / ABOVE));
  view.write32(at + PVIRTQ_DESC.len, length);
}

/** Writes a whole descriptor. */
export function writeDescriptor(
  view: MemoryView,
  words: Int32Array | undefined,
  index: number,
  address: number,
  length: number,
  id: number,
  flags: number,
): void {
  writeElement(view, words, index, address, length);
  if (words !== undefined) words[DESC_WORDS * index + 3] = (flags << 16) | id;
  else view.write32(PVIRTQ_DESC_SIZE * index + PVIRTQ_DESC.id, (flags << 16) | id);
}

/** Fills an indirect table (§2.8.7): all flags but F_WRITE are reserved there, and so is the id. */
export function fillTable(
  table: MemoryView,
  words: Int32Array | undefined,
  first: number,
  readable: readonly GuestBuffer[],
  writable: readonly GuestBuffer[],
): void {
  let index = first;
  for (let i = 0; i < readable.length; i++, index++) {
    const { address, length } = readable[i]!;
    writeDescriptor(table, words, index, address, length, 0, 0);
  }
  for (let i = 0; i < writable.length; i++, index++) {
    const { address, length } = writable[i]!;
    writeDescriptor(table, words, index, address, length, 0, VIRTQ_DESC_F_WRITE);
  }
}

/** The buffer id of a used descriptor. */
export function idOf(view: MemoryView, words: Int32Array | undefined, index: number): number {
  if (words !== undefined) return words[DESC_WORDS * index + 3]! & 0xffff;
  return view.read16(PVIRTQ_DESC_SIZE * index + PVIRTQ_DESC.id);
}

/** The length of a used descriptor. */
export function lengthOf(view: MemoryView, words: Int32Array | undefined, index: number): number {
  if (words !== undefined) return words[DESC_WORDS * index + 2]! >>> 0;
  return view.read32(PVIRTQ_DESC_SIZE * index + PVIRTQ_DESC.len);
}
