import { type GuestAddress, joinAddress } from '../../memory/address.js';
import type { GuestMemory } from '../../memory/guest-memory.js';
import { MappedView } from '../../memory/mapped-view.js';
import type { MemoryView } from '../../memory/memory-view.js';
import { VirtqueueError } from '../virtqueue-error.js';
import type { SplitChain } from './chain.js';
import {
  VIRTQ_DESC,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
  VIRTQ_DESC_SIZE,
} from './layout.js';

/**
 * Descriptors that an indirect table may have on a queue that is smaller than that. §2.7.5.3.1 forbids a driver to go
 * beyond the queue size; drivers do all the same, and QEMU and Linux's vhost take 1024.
 */
const INDIRECT_MOST = 1024;
/** Bytes of one chain: `used.len` must be able to say it (§2.7.8). One byte less than §2.7.5.2 allows. */
const CHAIN_BYTES_MOST = 0xffff_ffff;

/**
 * Follows the descriptors of a chain from its head on, each read once, and fills `chain` with them (VIRTIO 1.3 §2.7.5).
 *
 * @param table - the descriptor table of the queue.
 * @param size - how many descriptors that has.
 * @param mayBeIndirect - VIRTIO_F_INDIRECT_DESC was negotiated.
 * @param tableAt - finds an indirect table that memory is known to cover; looks into the memory unless told.
 * @throws VirtqueueError when the driver broke a rule.
 */
export function walkChain(
  chain: SplitChain,
  memory: GuestMemory,
  table: MemoryView,
  size: number,
  mayBeIndirect: boolean,
  tableAt?: (address: GuestAddress, length: number) => MemoryView,
): void {
  chain.begin();
  const { head } = chain;
  let view = table;
  /** Where the table begins in that view, bytes; how many descriptors it has. */
  let start = 0;
  let entries = size;
  let indirect = false;
  let index = head;
  let left = size;
  let writing = false;
  for (;;) {
    // As many steps as the table has descriptors, and one is seen twice.
    if (left === 0) fail('CHAIN_LOOP', '2.7.5.2', `chain ${head} loops in its table of ${entries}`);
    left -= 1;
    const at = start + VIRTQ_DESC_SIZE * index;
    const low = view.read32(at + VIRTQ_DESC.addr);
    const high = view.read32(at + VIRTQ_DESC.addr + 4);
    const length = view.read32(at + VIRTQ_DESC.len);
    // Both at once: flags below, next above.
    const flagsAndNext = view.read32(at + VIRTQ_DESC.flags);
    const address = joinAddress(low, high);

    if ((flagsAndNext & VIRTQ_DESC_F_INDIRECT) !== 0) {
      // §2.7.5.3.2: after any number of direct descriptors, and F_WRITE means nothing here.
      if (!mayBeIndirect) {
        fail('INDIRECT_NOT_NEGOTIATED', '2.7.5.3.1', `chain ${head} has an indirect descriptor`);
      }
      if (indirect) {
        fail('INDIRECT_NESTED', '2.7.5.3.1', `chain ${head} has an indirect descriptor in an indirect table`);
      }
      if ((flagsAndNext & VIRTQ_DESC_F_NEXT) !== 0) {
        fail('INDIRECT_NEXT', '2.7.5.3.1', `chain ${head} continues after an indirect descriptor`);
      }
      checkTable(memory, head, size, address, length);
      const region = tableAt === undefined ? memory.regionOf(address, length) : undefined;
      if (region !== undefined && (address - region.start) % 4 === 0) {
        view = region.view;
        start = address - region.start;
      } else {
        view = tableAt?.(address, length) ?? copyOf(memory, address, length);
        start = 0;
      }
      indirect = true;
      entries = length / VIRTQ_DESC_SIZE;
      left = entries;
      index = 0;
      continue;
    }

    if (length > 0 && !memory.covers(address, length)) {
      fail('BUFFER_UNMAPPED', '2.7.5', `descriptor ${index} of chain ${head}: ${range(address, length)}`);
    }
    if (chain.readable + chain.writable + length > CHAIN_BYTES_MOST) {
      fail('CHAIN_BYTES', '2.7.5.2', `chain ${head} has 2^32 bytes or more`);
    }
    // A descriptor without bytes is odd but harmless.
    if ((flagsAndNext & VIRTQ_DESC_F_WRITE) !== 0) {
      writing = true;
      if (length > 0) chain.addWritable(address, length);
    } else {
      if (writing) {
        const text = `descriptor ${index} of chain ${head} is device-readable after a device-writable one`;
        fail('READABLE_AFTER_WRITABLE', '2.7.4.2', text);
      }
      if (length > 0) chain.addReadable(address, length);
    }

    if ((flagsAndNext & VIRTQ_DESC_F_NEXT) === 0) return;
    index = flagsAndNext >>> 16;
    if (index >= entries) {
      fail('NEXT_INDEX', '2.7.5', `chain ${head} continues at descriptor ${index} in a table of ${entries}`);
    }
  }
}

function checkTable(
  memory: GuestMemory,
  head: number,
  size: number,
  address: GuestAddress,
  length: number,
): void {
  if (length === 0 || length % VIRTQ_DESC_SIZE !== 0) {
    fail('INDIRECT_LENGTH', '2.7.5.3', `chain ${head} has an indirect table of ${length} bytes`);
  }
  const most = Math.max(size, INDIRECT_MOST);
  if (length > VIRTQ_DESC_SIZE * most) {
    const text = `chain ${head} has an indirect table of ${length / VIRTQ_DESC_SIZE} descriptors, more than ${most}`;
    fail('INDIRECT_LENGTH', '2.7.5.3.1', text);
  }
  if (!memory.covers(address, length)) {
    fail('INDIRECT_UNMAPPED', '2.7.5.3', `indirect table of chain ${head}: ${range(address, length)}`);
  }
}

/** An indirect table that lies across regions, or unaligned: odd, but nothing forbids it. */
function copyOf(memory: GuestMemory, address: GuestAddress, length: number): MemoryView {
  const bytes = new Uint8Array(length);
  memory.read(address, bytes);
  return new MappedView(bytes.buffer);
}

function range(address: GuestAddress, length: number): string {
  const where = Number.isNaN(address) ? 'an address above 2^53 - 1' : `0x${address.toString(16)}`;
  return `${where} + ${length} bytes is not guest memory`;
}

function fail(code: string, section: string, text: string): never {
  throw new VirtqueueError(code, section, text);
}
