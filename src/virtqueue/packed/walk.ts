import { joinAddress } from '../../memory/address.js';
import type { FoundRegion, GuestMemory } from '../../memory/guest-memory.js';
import type { MemoryView } from '../../memory/memory-view.js';
import type { HeldChain } from '../held-chain.js';
import { findTable, INDIRECT_MOST, rangeText, type TableAt, table } from '../indirect-table.js';
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
const ID_AND_FLAGS: number = PVIRTQ_DESC.id / 4;
const one = new Int32Array(ID_AND_FLAGS);

/** The table that a chain is in: the words that hold it, where it begins there, and its length in words. */
const entered: { words: Int32Array; place: number; length: number } = { words: one, place: 0, length: 0 };

// The flags as they are above an id. They are of this module because what is imported is looked up at each use.
const OWNER: number = OWNER_FLAGS << 16;
const NEXT: number = VIRTQ_DESC_F_NEXT << 16;
const WRITE: number = VIRTQ_DESC_F_WRITE << 16;
const INDIRECT: number = VIRTQ_DESC_F_INDIRECT << 16;

/** The ring that a chain is in. */
export class PackedRing {
  readonly memory: GuestMemory;
  /** Its descriptors. */
  readonly view: MemoryView;
  readonly words: Int32Array | undefined;
  readonly size: number = 0;
  /** VIRTIO_F_INDIRECT_DESC was negotiated. */
  readonly indirect: boolean;
  /** Finds indirect tables; memory is looked into unless told. */
  readonly tableAt: TableAt | undefined;

  constructor(memory: GuestMemory, view: MemoryView, size: number, indirect: boolean, tableAt?: TableAt) {
    this.memory = memory;
    this.view = view;
    this.words = view.words;
    this.size = size;
    this.indirect = indirect;
    this.tableAt = tableAt;
  }
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
  let { words } = ring;
  /** Of the descriptor, in words; where the ring ends, or the table. */
  let place = DESC_WORDS * first;
  let end = DESC_WORDS * ring.size;
  let now = idAndFlags | 0;
  let owner = now & OWNER;
  /** Where it would have begun if the ring had not ended meanwhile; where the next one would be that the driver can't have. */
  let start = place;
  let last = place + DESC_WORDS * room;
  if (last >= end) last -= end;
  let inTable = false;
  if ((now & INDIRECT) !== 0) {
    enterTable(ring, first, now);
    words = entered.words;
    place = entered.place;
    end = place + entered.length;
    now = words[place + ID_AND_FLAGS]!;
    inTable = true;
  } else if (words === undefined) {
    words = copyOfList(ring, first, now, room);
    place = 0;
    start = 0;
    last = -1;
    end = -1;
  }
  let home = ring.memory.recent;
  let { places } = chain;
  /** Twice the segments so far. */
  let slot = 0;
  let total = 0;
  /** The first device-writable segment, twice, once there is one, and the bytes before it. */
  let border = -1;
  let readable = 0;
  for (;;) {
    const low = words[place]!;
    const high = words[place + 1]!;
    const length = words[place + 2]!;
    if ((now & WRITE) !== 0) {
      if (border < 0) {
        border = slot;
        readable = total;
      }
    } else if (border >= 0) outOfOrder(first);
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
      home = putElsewhere(chain, slot / 2, home, low, high, length, first);
      total += length >>> 0;
      slot += 2;
    }

    place += DESC_WORDS;
    if (inTable) {
      // Every flag but F_WRITE is reserved there, and so is the id: they mean nothing (§2.8.7).
      if (place === end) break;
      now = words[place + ID_AND_FLAGS]!;
      continue;
    }
    if ((now & NEXT) === 0) break;
    if (place === end) {
      // The wrap counter is another there, and so are the flags that say that it is available.
      place = 0;
      start -= end;
      owner ^= OWNER;
    }
    if (place === last) tooLong(ring, first, room);
    now = words[place + ID_AND_FLAGS]!;
    if ((now & (OWNER | INDIRECT)) !== owner) notInList(ring, first, place, now, owner);
  }
  const count = inTable ? 1 : (place - start) / DESC_WORDS;
  if (total > CHAIN_BYTES_MOST) {
    fail('CHAIN_BYTES', '2.8.4', `the list at ${first} has 2^32 bytes or more`);
  }
  const id = (inTable ? idAndFlags : now) & 0xffff;
  if (id >= ring.size) {
    fail('BUFFER_ID', '2.8.21.1', `buffer id ${id} at ${first} is not below the queue size ${ring.size}`);
  }
  if (border < 0) {
    border = slot;
    readable = total;
  }
  chain.fill(slot >> 1, border >> 1, readable, total - readable, home);
  return id | (count << 16);
}

/** Finds the table of an indirect descriptor. */
function enterTable(ring: PackedRing, index: number, idAndFlags: number): void {
  // F_WRITE means nothing here (§2.8.7).
  if (!ring.indirect || (idAndFlags & NEXT) !== 0) notIndirect(ring, index);
  const place = ring.words === undefined ? 0 : DESC_WORDS * index;
  const words = ring.words ?? copyOfOne(ring.view, PVIRTQ_DESC_SIZE * index);
  const low = words[place]!;
  const high = words[place + 1]!;
  const length = words[place + 2]!;
  checkLength(index, ring.size, length >>> 0);
  const { memory, tableAt } = ring;
  if (!findTable(memory, memory.recent, low, high, length, tableAt)) {
    const where = rangeText(joinAddress(low, high), length);
    fail('INDIRECT_UNMAPPED', '2.8.7', `indirect table of descriptor ${index}: ${where}`);
  }
  entered.length = length >>> 2;
  const { view } = table;
  if (view.words === undefined) {
    entered.words = copyOfWords(view, table.offset, entered.length);
    entered.place = 0;
  } else {
    entered.words = view.words;
    // What has words is small enough for an integer, which an index had better be.
    entered.place = (table.offset / 4) | 0;
  }
}

function checkLength(index: number, size: number, length: number): void {
  if (length === 0 || (length & (PVIRTQ_DESC_SIZE - 1)) !== 0) {
    fail('INDIRECT_LENGTH', '2.8.7', `descriptor ${index} has an indirect table of ${length} bytes`);
  }
  const most = size > INDIRECT_MOST ? size : INDIRECT_MOST;
  if (length > PVIRTQ_DESC_SIZE * most) {
    const text = `descriptor ${index} has an indirect table of ${length / PVIRTQ_DESC_SIZE} descriptors, more than ${most}`;
    fail('INDIRECT_LENGTH', '2.8.19', text);
  }
}

/** An element that is not in the region of those before it. */
function putElsewhere(
  chain: HeldChain,
  segment: number,
  home: FoundRegion,
  low: number,
  high: number,
  length: number,
  first: number,
): FoundRegion {
  const address = joinAddress(low, high);
  const region = chain.putElsewhere(segment, home, address, length >>> 0);
  if (region !== undefined) return region;
  const text = `an element of the list at ${first}: ${rangeText(address, length >>> 0)}`;
  return fail('BUFFER_UNMAPPED', '2.8.4', text);
}

function outOfOrder(first: number): never {
  const text = `an element of the list at ${first} is device-readable after a device-writable one`;
  fail('READABLE_AFTER_WRITABLE', '2.8.17', text);
}

function tooLong({ size }: PackedRing, first: number, room: number): never {
  const text = `the list at ${first} goes on after ${room} descriptors, of ${size} with ${size - room} in use`;
  fail('CHAIN_LENGTH', '2.8.17', text);
}

/** What follows in a list is not available, or indirect. */
function notInList(ring: PackedRing, first: number, place: number, idAndFlags: number, owner: number): never {
  const index = place / DESC_WORDS;
  if ((idAndFlags & OWNER) === owner) notIndirect(ring, index);
  fail('CHAIN_NOT_AVAILABLE', '2.8.17', `descriptor ${index} of the list at ${first} is not available`);
}

function notIndirect({ indirect }: PackedRing, index: number): never {
  if (!indirect) fail('INDIRECT_NOT_NEGOTIATED', '2.8.19', `descriptor ${index} is indirect`);
  fail('INDIRECT_NEXT', '2.8.19', `descriptor ${index} is indirect and in a list`);
}

/** The address and length of a descriptor that is not there as words. */
function copyOfOne(view: MemoryView, at: number): Int32Array {
  for (let i = 0; i < ID_AND_FLAGS; i++) one[i] = view.read32(at + 4 * i);
  return one;
}

/** For descriptors that are not there as words. */
let copy: Int32Array = new Int32Array(64);

/** Each word read once. */
function copyOfWords(view: MemoryView, at: number, count: number): Int32Array {
  makeRoom(count);
  for (let i = 0; i < count; i++) copy[i] = view.read32(at + 4 * i);
  return copy;
}

/** A list of descriptors, as one that does not wrap: each is available before anything else is read of it. */
function copyOfList(ring: PackedRing, first: number, idAndFlags: number, room: number): Int32Array {
  const { view, size } = ring;
  let index = first;
  let now = idAndFlags;
  let owner = now & OWNER;
  for (let count = 1; ; count++) {
    const at = DESC_WORDS * (count - 1);
    makeRoom(at + DESC_WORDS);
    copy.set(copyOfOne(view, PVIRTQ_DESC_SIZE * index), at);
    copy[at + ID_AND_FLAGS] = (now & ~OWNER) | (idAndFlags & OWNER);
    if ((now & NEXT) === 0) return copy;
    if (count === room) tooLong(ring, first, room);
    index += 1;
    if (index === size) {
      index = 0;
      owner ^= OWNER;
    }
    now = view.read32(PVIRTQ_DESC_SIZE * index + PVIRTQ_DESC.id) | 0;
    if ((now & (OWNER | INDIRECT)) !== owner) notInList(ring, first, DESC_WORDS * index, now, owner);
  }
}

function makeRoom(words: number): void {
  if (copy.length >= words) return;
  const more = new Int32Array(2 * words);
  more.set(copy);
  copy = more;
}

function fail(code: string, section: string, text: string): never {
  throw new VirtqueueError(code, section, text);
}
