import { type GuestAddress, joinAddress } from '../../memory/address.js';
import type { GuestMemory } from '../../memory/guest-memory.js';
import type { MemoryView } from '../../memory/memory-view.js';
import type { HeldChain } from '../held-chain.js';
import { INDIRECT_MOST, rangeText, tableCopy } from '../indirect-table.js';
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
  tableAt?: (address: GuestAddress, length: number) => MemoryView,
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
  let { addresses, lengths, offsets } = chain;
  /** The region that all of it lies in, and whether that is so, within reach of `offsets`. */
  let home = memory.recent;
  let homeStart = home === undefined ? 0 : home.start;
  let homeEnd = home === undefined ? 0 : home.end;
  let together = true;
  let segments = 0;
  let readable = 0;
  let writable = 0;
  /** The first device-writable segment. */
  let border = 0;
  let writing = false;
  for (;;) {
    // As many steps as the table has descriptors, and one is seen twice.
    if (left === 0) fail('CHAIN_LOOP', '2.7.5.2', `chain ${head} loops in its table of ${entries}`);
    left -= 1;
    const place = start + DESC_WORDS * index;
    const from = words ?? copyOfOne(view, 4 * place);
    const at = words === undefined ? 0 : place;
    const address = joinAddress(from[at]!, from[at + 1]!);
    const length = from[at + 2]! >>> 0;
    // Both at once: flags below, next above.
    const flagsAndNext = from[at + 3]!;

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
      if (region !== undefined && ((address - region.start) & 3) === 0) {
        view = region.view;
        words = view.words;
        start = (address - region.start) / 4;
        // What has words is small enough for an integer, which an index had better be.
        if (words !== undefined) start |= 0;
      } else {
        view = tableAt?.(address, length) ?? tableCopy(memory, address, length);
        words = view.words;
        start = 0;
      }
      indirect = true;
      entries = length / VIRTQ_DESC_SIZE;
      left = entries;
      index = 0;
      continue;
    }

    if (length > 0 && !(address >= homeStart && address + length <= homeEnd)) {
      const region = memory.regionOf(address, length);
      if (region === undefined && !memory.covers(address, length)) {
        fail(
          'BUFFER_UNMAPPED',
          '2.7.5',
          `descriptor ${index} of chain ${head}: ${rangeText(address, length)}`,
        );
      }
      if (region === undefined || segments > 0) together = false;
      else {
        home = region;
        homeStart = region.start;
        homeEnd = region.end;
      }
    }
    if (readable + writable + length > CHAIN_BYTES_MOST) {
      fail('CHAIN_BYTES', '2.7.5.2', `chain ${head} has 2^32 bytes or more`);
    }
    if ((flagsAndNext & VIRTQ_DESC_F_WRITE) !== 0) {
      writing = true;
      writable += length;
    } else {
      if (writing) {
        const text = `descriptor ${index} of chain ${head} is device-readable after a device-writable one`;
        fail('READABLE_AFTER_WRITABLE', '2.7.4.2', text);
      }
      readable += length;
    }
    // A descriptor without bytes is odd but harmless.
    if (length > 0) {
      if (segments === lengths.length) {
        chain.grow();
        ({ addresses, lengths, offsets } = chain);
      }
      const offset = address - homeStart;
      if (offset > 0x7fff_ffff) together = false;
      offsets[segments] = offset;
      addresses[segments] = address;
      lengths[segments] = length;
      segments += 1;
      if (!writing) border = segments;
    }

    if ((flagsAndNext & VIRTQ_DESC_F_NEXT) === 0) {
      chain.fill(segments, border, readable, writable, together ? home?.view : undefined);
      return;
    }
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
  if (length === 0 || (length & (VIRTQ_DESC_SIZE - 1)) !== 0) {
    fail('INDIRECT_LENGTH', '2.7.5.3', `chain ${head} has an indirect table of ${length} bytes`);
  }
  const most = Math.max(size, INDIRECT_MOST);
  if (length > VIRTQ_DESC_SIZE * most) {
    const text = `chain ${head} has an indirect table of ${length / VIRTQ_DESC_SIZE} descriptors, more than ${most}`;
    fail('INDIRECT_LENGTH', '2.7.5.3.1', text);
  }
  if (!memory.covers(address, length)) {
    fail('INDIRECT_UNMAPPED', '2.7.5.3', `indirect table of chain ${head}: ${rangeText(address, length)}`);
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
