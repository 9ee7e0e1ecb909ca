import type { GuestAddress } from '../memory/address.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import { MappedView } from '../memory/mapped-view.js';
import type { MemoryView } from '../memory/memory-view.js';

/**
 * Descriptors that an indirect table may have on a queue that is smaller than that. VIRTIO 1.3 §2.7.5.3.1 forbids a driver to go beyond the
 * queue size; drivers do all the same, and QEMU and Linux's vhost take 1024.
 */
export const INDIRECT_MOST = 1024;

/** An indirect table that lies across regions, or unaligned: odd, but nothing forbids it. */
export function tableCopy(memory: GuestMemory, address: GuestAddress, length: number): MemoryView {
  const bytes = new Uint8Array(length);
  memory.read(address, bytes);
  return new MappedView(bytes.buffer);
}

/** What is wrong with a range that is not guest memory: for messages. */
export function rangeText(address: GuestAddress, length: number): string {
  const where = Number.isNaN(address) ? 'an address above 2^53 - 1' : `0x${address.toString(16)}`;
  return `${where} + ${length} bytes is not guest memory`;
}
