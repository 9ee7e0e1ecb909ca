import { type GuestAddress, joinAddress } from '../../memory/address.js';
import type { GuestMemory } from '../../memory/guest-memory.js';
import type { MemoryView } from '../../memory/memory-view.js';
import type { HeldChain } from '../held-chain.js';
import { INDIRECT_MOST, rangeText, tableCopy } from '../indirect-table.js';
import { VirtqueueError } from '../virtqueue-error.js';
import {
  OWNER_FLAGS,
  PVIRTQ_DESC,
  PVIRTQ_DESC_SIZE,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
} from './layout.js';

/** Bytes of one chain: the length of a used descriptor must be able to say it (§2.8.4). */
const CHAIN_BYTES_MOST = 0xffff_ffff;

/** A descriptor by words: two of the address, the length, id and flags. */
const DESC_WORDS: number = PVIRTQ_DESC_SIZE / 4;
const one = new Int32Array(3);

/** The ring that a chain is in. */
export interface PackedRing {
  readonly memory: GuestMemory;
  /** Its descriptors. */
  readonly view: MemoryView;
  readonly size: number;
  /** VIRTIO_F_INDIRECT_DESC was negotiated. */
  readonly indirect: boolean;
  /** Finds an indirect table that memory is known to cover; looks into the memory unless told. */
  readonly tableAt?: (address: GuestAddress, length: number) => MemoryView;
}

/**
 * Follows the descriptors of a chain, each read once, and fills `chain` with them (VIRTIO 1.3 §2.8.6, §2.8.7).
 *
 * @param first - the offset of its first descriptor.
 * @param idAndFlags - those of that descriptor, which was found to be available: the id below, the flags above.
 * @param room - descriptors that the driver can have: those of the ring that are not with the device.
 * @returns the buffer's id, and above 16 bits how many descriptors of the ring it takes.
 * @throws VirtqueueError when the driver broke a rule.
 */
export function walkPackedChain(
  chain: HeldChain,
  ring: PackedRing,
  first: number,
  idAndFlags: number,
  room: number,
): number {
  const { memory, size } = ring;
  let { view } = ring;
  let { words } = view;
  /** Of the descriptor, in words; where the ring ends, or the table. */
  let place = DESC_WORDS * first;
  let end = DESC_WORDS * size;
  let inTable = false;
  let now = idAndFlags >>> 16;
  let id = idAndFlags & 0xffff;
  let owner = now & OWNER_FLAGS;
  let count = 1;
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
    const from = words ?? copyOfOne(view, 4 * place);
    const at = words === undefined ? 0 : place;
    const address = joinAddress(from[at]!, from[at + 1]!);
    const length = from[at + 2]! >>> 0;
    if ((now & VIRTQ_DESC_F_INDIRECT) !== 0 && !inTable) {
      // F_WRITE means nothing here (§2.8.7).
      if (!ring.indirect) {
        fail('INDIRECT_NOT_NEGOTIATED', '2.8.19', `descriptor ${place / DESC_WORDS} is indirect`);
      }
      if (count > 1 || (now & VIRTQ_DESC_F_NEXT) !== 0) {
        fail('INDIRECT_NEXT', '2.8.19', `descriptor ${place / DESC_WORDS} is indirect and in a list`);
      }
      checkTable(memory, first, size, address, length);
      const { tableAt } = ring;
      const region = tableAt === undefined ? memory.regionOf(address, length) : undefined;
      if (region !== undefined && ((address - region.start) & 3) === 0) {
        view = region.view;
        words = view.words;
        place = (address - region.start) / 4;
        // What has words is small enough for an integer, which an index had better be.
        if (words !== undefined) place |= 0;
      } else {
        view = tableAt?.(address, length) ?? tableCopy(memory, address, length);
        words = view.words;
        place = 0;
      }
      inTable = true;
      end = place + (length >>> 2);
      now = idAndFlagsAt(view, words, place) >>> 16;
      continue;
    }

    if (length > 0 && !(address >= homeStart && address + length <= homeEnd)) {
      const region = memory.regionOf(address, length);
      if (region === undefined && !memory.covers(address, length)) {
        const text = `an element of the list at ${first}: ${rangeText(address, length)}`;
        fail('BUFFER_UNMAPPED', '2.8.4', text);
      }
      if (region === undefined || segments > 0) together = false;
      else {
        home = region;
        homeStart = region.start;
        homeEnd = region.end;
      }
    }
    if (readable + writable + length > CHAIN_BYTES_MOST) {
      fail('CHAIN_BYTES', '2.8.4', `the list at ${first} has 2^32 bytes or more`);
    }
    if ((now & VIRTQ_DESC_F_WRITE) !== 0) {
      writing = true;
      writable += length;
    } else {
      if (writing) {
        const text = `an element of the list at ${first} is device-readable after a device-writable one`;
        fail('READABLE_AFTER_WRITABLE', '2.8.17', text);
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

    place += DESC_WORDS;
    if (inTable) {
      // Every flag but F_WRITE is reserved there, and so is the id: they mean nothing (§2.8.7).
      if (place === end) break;
      now = idAndFlagsAt(view, words, place) >>> 16;
      continue;
    }
    if ((now & VIRTQ_DESC_F_NEXT) === 0) break;
    if (count === room) {
      const text = `the list at ${first} goes on after ${count} descriptors, of ${size} with ${size - room} in use`;
      fail('CHAIN_LENGTH', '2.8.17', text);
    }
    count += 1;
    if (place === end) {
      place = 0;
      // The wrap counter is another there, and so are the flags that say that it is available.
      owner ^= OWNER_FLAGS;
    }
    const both = idAndFlagsAt(view, words, place);
    id = both & 0xffff;
    now = both >>> 16;
    if ((now & OWNER_FLAGS) !== owner) {
      const text = `descriptor ${place / DESC_WORDS} of the list at ${first} is not available`;
      fail('CHAIN_NOT_AVAILABLE', '2.8.17', text);
    }
  }
  if (id >= size) {
    fail('BUFFER_ID', '2.8.21.1', `buffer id ${id} at ${first} is not below the queue size ${size}`);
  }
  chain.fill(segments, border, readable, writable, together ? home?.view : undefined);
  return id | (count << 16);
}

function checkTable(
  memory: GuestMemory,
  index: number,
  size: number,
  address: GuestAddress,
  length: number,
): void {
  if (length === 0 || (length & (PVIRTQ_DESC_SIZE - 1)) !== 0) {
    fail('INDIRECT_LENGTH', '2.8.7', `descriptor ${index} has an indirect table of ${length} bytes`);
  }
  const most = Math.max(size, INDIRECT_MOST);
  if (length > PVIRTQ_DESC_SIZE * most) {
    const text = `descriptor ${index} has an indirect table of ${length / PVIRTQ_DESC_SIZE} descriptors, more than ${most}`;
    fail('INDIRECT_LENGTH', '2.8.19', text);
  }
  if (!memory.covers(address, length)) {
    const text = `indirect table of descriptor ${index}: ${rangeText(address, length)}`;
    fail('INDIRECT_UNMAPPED', '2.8.7', text);
  }
}

/** Both at once: the id below, the flags above. */
function idAndFlagsAt(view: MemoryView, words: Int32Array | undefined, place: number): number {
  return words === undefined ? view.read32(4 * place + PVIRTQ_DESC.id) : words[place + 3]!;
}

/** The address and length of a descriptor that is not there as words. */
function copyOfOne(table: MemoryView, at: number): Int32Array {
  one[0] = table.read32(at + PVIRTQ_DESC.addr);
  one[1] = table.read32(at + PVIRTQ_DESC.addr + 4);
  one[2] = table.read32(at + PVIRTQ_DESC.len);
  return one;
}

function fail(code: string, section: string, text: string): never {
  throw new VirtqueueError(code, section, text);
}
