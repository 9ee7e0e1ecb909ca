import type { GuestMemory } from '../../memory/guest-memory.js';
import { MappedView } from '../../memory/mapped-view.js';
import type { MemoryView } from '../../memory/memory-view.js';
import {
  checkHeader,
  copyOf,
  counterAfter,
  counterAt,
  INFLIGHT_VERSION,
  type InflightPlace,
  isMarked,
  nextCounter,
  type Recorded,
  refuse,
  VERSION_AND_ENTRIES,
} from '../inflight.js';
import {
  DESC_STATE_PACKED,
  DESC_STATE_PACKED_SIZE,
  packedRegionSize,
  QUEUE_REGION_PACKED,
} from './inflight-layout.js';
import { availableFlags, OWNER_FLAGS, PVIRTQ_DESC, PVIRTQ_DESC_SIZE } from './layout.js';
import { Place } from './place.js';
import { PackedRing } from './walk.js';

/** What a packed ring's region is for. */
export interface PackedInflightOptions {
  readonly memory: GuestMemory;
  /** The ring. */
  readonly ring: MemoryView;
  readonly size: number;
  /** Where it begins, if no earlier device used the region: both places, as `Virtqueue.base` says them. */
  readonly base: number;
  readonly indirect: boolean;
}

/**
 * What is in flight on a packed queue, on record for the device that comes after this one: a used descriptor may overwrite one that is in flight,
 * so that each is copied when it is taken.
 *
 * What was pushed and not shown yet is put into the region at once just before it is shown, and not with each push, because what is taken
 * meanwhile must not get the entries of what may still have to be served anew.
 */
export class PackedInflight {
  readonly #view: MemoryView;
  readonly #words: Int32Array | undefined;
  readonly #entries: number;
  /** By entry, what the region says, without reading it again. */
  readonly #next: Uint16Array;
  readonly #last: Uint16Array;
  #free = 0;
  #usedIdx: number;
  #usedWrap: number;
  #counter = 1;
  /** By buffer id: the first entry of its chain. */
  readonly #entryOf: Uint16Array;
  /** The first entries of chains that were handed back since the last that the driver was shown: a driver may use their ids anew before. */
  readonly #batch: Uint16Array;
  #batched = 0;
  /** The descriptors of those that an earlier device took and did not hand back, oldest first, one chain after the other. */
  #left: PackedRing | undefined;
  /** The first entry of each of them, and how many descriptors it has. */
  #leftEntries: readonly number[] = [];
  #leftCounts: readonly number[] = [];
  #again = 0;
  #leftAt = 0;
  /** Whether an earlier device used this region. */
  readonly resumed: boolean;
  /** Both places to go on from, as `Virtqueue.base` says them: the next available one is where those begin that were not handed back. */
  readonly base: number;

  /** @throws VirtqueueError when the region is none for this ring. */
  constructor(place: InflightPlace, options: PackedInflightOptions) {
    const { view, entries } = place;
    const { size, base } = options;
    if (entries < size) refuse(`it has ${entries} entries for a queue of ${size}`);
    this.#view = view;
    this.#words = view.words;
    this.#entries = entries;
    this.#next = Uint16Array.from({ length: entries }, (_, i) => i + 1);
    this.#last = new Uint16Array(entries);
    this.#entryOf = new Uint16Array(size);
    this.#batch = new Uint16Array(size);
    this.#usedIdx = (base >>> 16) & 0x7fff;
    this.#usedWrap = base >>> 31;
    const words = copyOf(place, packedRegionSize(entries));
    this.resumed = checkHeader(words, entries, false) !== 'fresh';
    if (this.resumed) {
      this.#settle(words, options);
      this.#recover(words, options);
      const used = this.#usedIdx | (this.#usedWrap << 15);
      this.base = (used | (used << 16)) >>> 0;
    } else {
      this.#begin();
      this.base = base;
    }
  }

  /** How many chains of those are not taken anew. */
  get pending(): number {
    return this.#leftCounts.length - this.#again;
  }

  /** How many descriptors they have. */
  get pendingDescriptors(): number {
    let sum = 0;
    for (let i = this.#again; i < this.#leftCounts.length; i++) sum += this.#leftCounts[i]!;
    return sum;
  }

  /** The descriptors of all of them, as if they were a ring. */
  get left(): PackedRing {
    return this.#left!;
  }

  /** Where the next of them begins there, and how many descriptors it has. */
  get leftAt(): number {
    return this.#leftAt;
  }

  get leftCount(): number {
    return this.#leftCounts[this.#again]!;
  }

  /** That one is taken: it keeps its entries, and its place in the order. */
  takenAgain(id: number): void {
    this.#entryOf[id] = this.#leftEntries[this.#again]!;
    this.#leftAt += this.#leftCounts[this.#again]!;
    this.#again += 1;
  }

  /**
   * The device is about to be given a chain.
   *
   * @param first - the offset of its first descriptor in the ring.
   * @param count - how many it has.
   */
  taken(ring: MemoryView, size: number, first: number, count: number, id: number): void {
    const head = this.#free;
    let entry = head;
    let last = head;
    for (let i = 0, place = first; i < count; i++) {
      this.#copy(ring, place, entry);
      last = entry;
      entry = this.#next[entry]!;
      place = place + 1 === size ? 0 : place + 1;
    }
    this.#last[head] = last;
    this.#entryOf[id] = head;
    const at = entryAt(head);
    const counter = this.#counter;
    this.#put(at + COUNTER, counter | 0);
    this.#put(at + COUNTER + 1, (counter / 2 ** 32) | 0);
    this.#counter = nextCounter(counter);
    this.#put(at + LAST_AND_NUM, last | (count << 16));
    this.#put(at, 1 | (this.#next[head]! << 16));
    // From now on it is: its entries are not among the free ones.
    this.#free = entry;
    this.#put(FREE, entry | (entry << 16));
  }

  /** It was handed back; the driver does not know yet. */
  pushed(id: number): void {
    this.#batch[this.#batched++] = this.#entryOf[id]!;
  }

  /** The driver is about to be shown all that was pushed. @param used - the place after it, as `Place.bits` says it. */
  showing(used: number): void {
    const old = this.#free;
    let free = old;
    for (let i = 0; i < this.#batched; i++) {
      const head = this.#batch[i]!;
      const last = this.#last[head]!;
      this.#next[last] = free;
      this.#put(entryAt(last), (last === head ? 1 : 0) | (free << 16));
      free = head;
    }
    this.#free = free;
    // In this order, and the other way round in `#settle`: where both heads are equal, all of it is shown.
    this.#put(FREE, free | (old << 16));
    this.#put(USED, (used & 0x7fff) | (this.#usedIdx << 16));
    this.#put(WRAP, (used >>> 15) | (this.#usedWrap << 8));
    this.#usedIdx = used & 0x7fff;
    this.#usedWrap = used >>> 15;
  }

  /** It was. */
  shown(): void {
    for (let i = 0; i < this.#batched; i++) {
      const head = this.#batch[i]!;
      this.#put(entryAt(head), this.#next[head]! << 16);
    }
    this.#batched = 0;
    this.#commit();
  }

  #commit(): void {
    this.#put(FREE, this.#free | (this.#free << 16));
    this.#put(USED, this.#usedIdx | (this.#usedIdx << 16));
    this.#put(WRAP, this.#usedWrap | (this.#usedWrap << 8));
  }

  #copy(ring: MemoryView, place: number, entry: number): void {
    const at = entryAt(entry);
    const { words } = ring;
    if (words === undefined) {
      const from = PVIRTQ_DESC_SIZE * place;
      this.#put(at + ADDR, ring.read32(from + PVIRTQ_DESC.addr));
      this.#put(at + ADDR + 1, ring.read32(from + PVIRTQ_DESC.addr + 4));
      this.#put(at + LEN, ring.read32(from + PVIRTQ_DESC.len));
      this.#put(at + ID_AND_FLAGS, ring.read32(from + PVIRTQ_DESC.id));
      return;
    }
    const from = (PVIRTQ_DESC_SIZE / 4) * place;
    this.#put(at + ADDR, words[from]!);
    this.#put(at + ADDR + 1, words[from + 1]!);
    this.#put(at + LEN, words[from + 2]!);
    this.#put(at + ID_AND_FLAGS, words[from + 3]!);
  }

  /** Of a chain that was taken and not handed back. */
  serialOf(id: number): number {
    return this.#get(entryAt(this.#entryOf[id]!) + COUNTER) >>> 0;
  }

  /** Whether the driver was not shown that this chain is used. */
  isOut(id: number, serial: number): boolean {
    const isThis = (entry: number): boolean =>
      (this.#get(entryAt(entry)) & 0xff) === 1 && this.#get(entryAt(entry) + COUNTER) === (serial | 0);
    // What is not taken anew yet is not known by its id.
    return (
      isThis(this.#entryOf[id] ?? 0) ||
      (this.pending > 0 && this.#leftEntries.slice(this.#again).some(isThis))
    );
  }

  #get(word: number): number {
    return this.#words === undefined ? this.#view.read32(4 * word) | 0 : this.#words[word]!;
  }

  #put(word: number, value: number): void {
    const words = this.#words;
    if (words !== undefined) words[word] = value;
    else this.#view.write32(4 * word, value >>> 0);
  }

  #begin(): void {
    for (let entry = 0; entry < this.#entries; entry++) this.#put(entryAt(entry), (entry + 1) << 16);
    this.#put(0, 0);
    this.#put(1, 0);
    this.#commit();
    // Last: until it has a version, it is none.
    this.#put(VERSION_AND_ENTRIES, INFLIGHT_VERSION | (this.#entries << 16));
  }

  /** Ends what an earlier device was about to show, or takes it back. */
  #settle(words: Int32Array, { ring, size }: PackedInflightOptions): void {
    const [free, oldFree] = halves(words[FREE]!);
    const [used, oldUsed] = halves(words[USED]!);
    const wrap = words[WRAP]! & 0xff;
    const oldWrap = (words[WRAP]! >>> 8) & 0xff;
    if (free > this.#entries || oldFree > this.#entries)
      refuse(`its list of free entries begins at ${Math.max(free, oldFree)}, of ${this.#entries}`);
    if (used >= size || oldUsed >= size || wrap > 1 || oldWrap > 1)
      refuse(`its used places are ${used} (${wrap}) and ${oldUsed} (${oldWrap}) in a ring of ${size}`);
    // The old place is good until the heads are equal, which they are not before the driver saw all of it.
    const begun = free !== oldFree && (used !== oldUsed || wrap !== oldWrap);
    const shown = free === oldFree || (begun && isShown(ring, oldUsed, oldWrap));
    this.#free = shown ? free : oldFree;
    this.#usedIdx = shown ? used : oldUsed;
    this.#usedWrap = shown ? wrap : oldWrap;
    if (shown) this.#put(FREE, free | (free << 16));
    this.#put(USED, this.#usedIdx | (this.#usedIdx << 16));
    this.#put(WRAP, this.#usedWrap | (this.#usedWrap << 8));
    if (!shown) this.#put(FREE, oldFree | (oldFree << 16));
  }

  #recover(words: Int32Array, options: PackedInflightOptions): void {
    const { memory, ring, size, indirect } = options;
    const entries = this.#entries;
    for (let entry = 0; entry < entries; entry++) this.#next[entry] = words[entryAt(entry)]! >>> 16;
    const seen = new Uint8Array(entries);
    let known = 0;
    for (let entry = this.#free; entry < entries; entry = this.#next[entry]!, known++) {
      if (seen[entry] !== 0) refuse(`its list of free entries comes round to ${entry}`);
      seen[entry] = FREE_ENTRY;
      // Of a batch that was shown, or of a chain that was not wholly taken.
      if (isMarked(words[entryAt(entry)]!, entry)) this.#put(entryAt(entry), this.#next[entry]! << 16);
    }
    const left: Recorded[] = [];
    for (let index = 0; index < entries; index++) {
      const at = entryAt(index);
      if (!isMarked(words[at]!, index) || seen[index] === FREE_ENTRY) continue;
      left.push({ index, counter: counterAt(words, at + COUNTER, index) });
    }
    left.sort((a, b) => a.counter - b.counter);
    const counters = Array.from({ length: entries }, (_, index) => entryAt(index) + COUNTER);
    this.#counter = counterAfter(left.at(-1)?.counter ?? 0, words, counters);
    const copies = new Int32Array((PVIRTQ_DESC_SIZE / 4) * size);
    let total = 0;
    const counts = left.map(({ index }) => {
      const [last, count] = halves(words[entryAt(index) + LAST_AND_NUM]!);
      if (count === 0 || count > size - total) refuse(`entry ${index} begins ${count} in a queue of ${size}`);
      this.#copyChain(words, index, count, last, seen, copies.subarray((PVIRTQ_DESC_SIZE / 4) * total));
      this.#last[index] = last;
      total += count;
      return count;
    });
    if (known + total !== entries)
      refuse(`${entries - known - total} of its entries are neither free nor in flight`);
    this.#leftEntries = left.map(({ index }) => index);
    this.#leftCounts = counts;
    this.#left = new PackedRing(memory, new MappedView(copies.buffer), size, indirect);
    this.#giveBack(ring, size, total);
  }

  /** Copies the descriptors of a chain from its entries. */
  #copyChain(
    words: Int32Array,
    index: number,
    count: number,
    last: number,
    seen: Uint8Array,
    into: Int32Array,
  ): void {
    let entry = index;
    for (let i = 0; ; i++) {
      if (entry >= this.#entries || seen[entry] !== 0)
        refuse(`entry ${entry} is in the chain of entry ${index}, and no such entry, or in use twice`);
      seen[entry] = TAKEN_ENTRY;
      const at = entryAt(entry);
      const to = (PVIRTQ_DESC_SIZE / 4) * i;
      into[to] = words[at + ADDR]!;
      into[to + 1] = words[at + ADDR + 1]!;
      into[to + 2] = words[at + LEN]!;
      // Whose it was is known; and a chain that went round the ring's end says both.
      into[to + 3] = words[at + ID_AND_FLAGS]! & ~(OWNER_FLAGS << 16);
      if (i + 1 === count) break;
      entry = this.#next[entry]!;
    }
    if (entry !== last) refuse(`the chain of entry ${index} ends with ${entry}, not ${last}`);
  }

  /**
   * Takes from the ring what an earlier device was about to show: behind the first of a batch there are used descriptors, which the driver
   * must not come to.
   */
  #giveBack(ring: MemoryView, size: number, count: number): void {
    const place = new Place(size, this.#usedIdx | (this.#usedWrap << 15));
    for (let i = 0; i < count; i++) {
      const at = PVIRTQ_DESC_SIZE * place.offset + PVIRTQ_DESC.flags;
      const flags = ring.read16(at);
      const available = availableFlags(place.wrap);
      if ((flags & OWNER_FLAGS) !== available) ring.store16(at, (flags & ~OWNER_FLAGS) | available);
      place.advance(1);
    }
  }
}

const FREE_ENTRY = 1;
const TAKEN_ENTRY = 2;

/** By words: in the header, pairs of new and old; an entry, and in it. */
const FREE: number = QUEUE_REGION_PACKED.free_head / 4;
const USED: number = QUEUE_REGION_PACKED.used_idx / 4;
const WRAP: number = QUEUE_REGION_PACKED.used_wrap_counter / 4;
const LAST_AND_NUM: number = DESC_STATE_PACKED.last / 4;
const COUNTER: number = DESC_STATE_PACKED.counter / 4;
const ID_AND_FLAGS: number = DESC_STATE_PACKED.id / 4;
const LEN: number = DESC_STATE_PACKED.len / 4;
const ADDR: number = DESC_STATE_PACKED.addr / 4;

function entryAt(entry: number): number {
  return (QUEUE_REGION_PACKED.desc + DESC_STATE_PACKED_SIZE * entry) / 4;
}

function halves(word: number): [low: number, high: number] {
  return [word & 0xffff, word >>> 16];
}

/** Whether the driver was shown that this descriptor is used: until then it is as it was when it was made available. */
function isShown(ring: MemoryView, offset: number, wrap: number): boolean {
  const flags = ring.load16(PVIRTQ_DESC_SIZE * offset + PVIRTQ_DESC.flags);
  return (flags & OWNER_FLAGS) !== availableFlags(wrap === 1);
}
