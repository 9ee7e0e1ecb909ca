import { joinAddress } from '../../memory/address.js';
import type { FoundRegion, GuestMemory } from '../../memory/guest-memory.js';
import type { MemoryView } from '../../memory/memory-view.js';
import type { HeldChain } from '../held-chain.js';
import { findTable, table as found, INDIRECT_MOST, rangeText, type TableAt } from '../indirect-table.js';
import { VirtqueueError } from '../virtqueue-error.js';
import {
  VIRTQ_DESC,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
  VIRTQ_DESC_SIZE,
} from './layout.js';

/** Bytes of one chain: `used.len` must be able to say it (§2.7.8). One byte less than §2.7.5.2 allows. */
const CHAIN_BYTES_MOST = 0xffff_ffff;

/** A descriptor by words: two of the address, the length, flags and next. */
const DESC_WORDS: number = VIRTQ_DESC_SIZE / 4;
const one = new Int32Array(DESC_WORDS);

// Of this module, as what is imported is looked up at each use.
const NEXT: number = VIRTQ_DESC_F_NEXT;
const WRITE: number = VIRTQ_DESC_F_WRITE;
const INDIRECT: number = VIRTQ_DESC_F_INDIRECT;

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
  chain: HeldChain,
  memory: GuestMemory,
  table: MemoryView,
  size: number,
  mayBeIndirect: boolean,
  tableAt?: TableAt,
): void {
  const { head } = chain;
  let view = table;
  let { words } = table;
  /** Where the table begins in that view, in words; how many descriptors it has. */
  let start = 0;
  let entries = size;
  let indirect = false;
  let index = head;
  let left = size;
  let home = memory.recent;
  let { places } = chain;
  /** Twice the segments so far. */
  let slot = 0;
  let total = 0;
  /** The first device-writable segment, twice, once there is one, and the bytes before it. */
  let border = -1;
  let readable = 0;
  for (;;) {
    // As many steps as the table has descriptors, and one is seen twice.
    if (left === 0) fail('CHAIN_LOOP', '2.7.5.2', `chain ${head} loops in its table of ${entries}`);
    left -= 1;
    const place = start + DESC_WORDS * index;
    const from = words ?? copyOfOne(view, 4 * place);
    const at = words === undefined ? 0 : place;
    const low = from[at]!;
    const high = from[at + 1]!;
    const length = from[at + 2]!;
    // Both at once: flags below, next above.
    const flagsAndNext = from[at + 3]!;

    if ((flagsAndNext & INDIRECT) !== 0) {
      // §2.7.5.3.2: after any number of direct descriptors, and F_WRITE means nothing here.
      if (!mayBeIndirect || indirect || (flagsAndNext & NEXT) !== 0) {
        notIndirect(head, mayBeIndirect, indirect);
      }
      checkLength(head, size, length >>> 0);
      if (!findTable(memory, home, low, high, length, tableAt)) {
        const where = rangeText(joinAddress(low, high), length);
        fail('INDIRECT_UNMAPPED', '2.7.5.3', `indirect table of chain ${head}: ${where}`);
      }
      ({ view } = found);
      ({ words } = view);
      start = found.offset / 4;
      // What has words is small enough for an integer, which an index had better be.
      if (words !== undefined) start |= 0;
      indirect = true;
      entries = length / VIRTQ_DESC_SIZE;
      left = entries;
      index = 0;
      continue;
    }

    if ((flagsAndNext & WRITE) !== 0) {
      if (border < 0) {
        border = slot;
        readable = total;
      }
    } else if (border >= 0) outOfOrder(head, index);
    if (slot === places.length) {
      chain.grow();
      ({ places } = chain);
    }
    const offset = (low - home.low) | 0;
    if (length > 0 && high === home.high && offset >= 0 && length <= home.room - offset) {
      places[slot] = offset;
      places[slot + 1] = length;
      total += length;
      slot += 2;
    } else if (length !== 0) {
      // A descriptor without bytes is odd but harmless.
      home = putElsewhere(chain, slot / 2, home, low, high, length, index);
      total += length >>> 0;
      slot += 2;
    }

    if ((flagsAndNext & NEXT) === 0) break;
    index = flagsAndNext >>> 16;
    if (index >= entries) {
      fail('NEXT_INDEX', '2.7.5', `chain ${head} continues at descriptor ${index} in a table of ${entries}`);
    }
  }
  if (total > CHAIN_BYTES_MOST) fail('CHAIN_BYTES', '2.7.5.2', `chain ${head} has 2^32 bytes or more`);
  if (border < 0) {
    border = slot;
    readable = total;
  }
  chain.fill(slot >> 1, border >> 1, readable, total - readable, home);
}

/** An element that is not in the region of those before it. */
function putElsewhere(
  chain: HeldChain,
  segment: number,
  home: FoundRegion,
  low: number,
  high: number,
  length: number,
  index: number,
): FoundRegion {
  const address = joinAddress(low, high);
  const region = chain.putElsewhere(segment, home, address, length >>> 0);
  if (region !== undefined) return region;
  const text = `descriptor ${index} of chain ${chain.head}: ${rangeText(address, length >>> 0)}`;
  return fail('BUFFER_UNMAPPED', '2.7.5', text);
}

function outOfOrder(head: number, index: number): never {
  const text = `descriptor ${index} of chain ${head} is device-readable after a device-writable one`;
  fail('READABLE_AFTER_WRITABLE', '2.7.4.2', text);
}

function notIndirect(head: number, mayBeIndirect: boolean, indirect: boolean): never {
  if (!mayBeIndirect) {
    fail('INDIRECT_NOT_NEGOTIATED', '2.7.5.3.1', `chain ${head} has an indirect descriptor`);
  }
  if (indirect) {
    fail('INDIRECT_NESTED', '2.7.5.3.1', `chain ${head} has an indirect descriptor in an indirect table`);
  }
  fail('INDIRECT_NEXT', '2.7.5.3.1', `chain ${head} continues after an indirect descriptor`);
}

function checkLength(head: number, size: number, length: number): void {
  if (length === 0 || (length & (VIRTQ_DESC_SIZE - 1)) !== 0) {
    fail('INDIRECT_LENGTH', '2.7.5.3', `chain ${head} has an indirect table of ${length} bytes`);
  }
  const most = size > INDIRECT_MOST ? size : INDIRECT_MOST;
  if (length > VIRTQ_DESC_SIZE * most) {
    const text = `chain ${head} has an indirect table of ${length / VIRTQ_DESC_SIZE} descriptors, more than ${most}`;
    fail('INDIRECT_LENGTH', '2.7.5.3.1', text);
  }
}

/** One descriptor of a table that is not there as words. */
function copyOfOne(table: MemoryView, at: number): Int32Array {
  one[0] = table.read32(at + VIRTQ_DESC.addr);
  one[1] = table.read32(at + VIRTQ_DESC.addr + 4);
  one[2] = table.read32(at + VIRTQ_DESC.len);
  one[3] = table.read32(at + VIRTQ_DESC.flags);
  return one;
}

function fail(code: string, section: string, text: string): never {
  throw new VirtqueueError(code, section, text);
}
