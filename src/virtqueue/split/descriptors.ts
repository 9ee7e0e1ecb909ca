import type { GuestBuffer } from '../../memory/guest-allocator.js';
import type { MemoryView } from '../../memory/memory-view.js';
import { VIRTQ_DESC, VIRTQ_DESC_F_NEXT, VIRTQ_DESC_F_WRITE, VIRTQ_DESC_SIZE } from './layout.js';

/** Writes one entry of a table of descriptors (VIRTIO 1.3 §2.7.5). */
export function writeDescriptor(
  table: MemoryView,
  index: number,
  address: number,
  length: number,
  flags: number,
  next: number,
): void {
  const at = VIRTQ_DESC_SIZE * index;
  table.write32(at + VIRTQ_DESC.addr, address >>> 0);
  table.write32(at + VIRTQ_DESC.addr + 4, Math.floor(address / 0x1_0000_0000));
  table.write32(at + VIRTQ_DESC.len, length);
  table.write32(at + VIRTQ_DESC.flags, (next << 16) | flags);
}

/**
 * Makes a chain of the buffers (§2.7.13.1), the readable ones first.
 *
 * @param base - the entry of `table` that index 0 means.
 * @param first - the index of the chain's first descriptor.
 * @param links - by index: which descriptor to take next; one after the other without it.
 * @returns the index of the chain's last descriptor.
 */
export function placeBuffers(
  table: MemoryView,
  base: number,
  first: number,
  links: Uint16Array | undefined,
  readable: readonly GuestBuffer[],
  writable: readonly GuestBuffer[],
): number {
  const count = readable.length + writable.length;
  let index = first;
  for (let i = 0; ; i++) {
    const isReadable = i < readable.length;
    const { address, length } = isReadable ? readable[i]! : writable[i - readable.length]!;
    const flags = isReadable ? 0 : VIRTQ_DESC_F_WRITE;
    if (i + 1 === count) {
      writeDescriptor(table, base + index, address, length, flags, 0);
      return index;
    }
    const next = links === undefined ? index + 1 : links[index]!;
    writeDescriptor(table, base + index, address, length, flags | VIRTQ_DESC_F_NEXT, next);
    index = next;
  }
}
