import type { GuestMemory } from '../../memory/guest-memory.js';
import { MappedView } from '../../memory/mapped-view.js';
import type { MemoryView } from '../../memory/memory-view.js';
import {
  checkHeader,
  copyOf,
  counterAt,
  highestCounter,
  IN_ORDER_SO_FAR,
  INFLIGHT_VERSION,
  type InflightPlace,
  isMarked,
  nextCounter,
  type Recorded,
  refuse,
  serialOfCounter,
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
  /** By buffer id, where in the ring its chain began that was taken last. Without it all that is in flight is kept by its entries. */
  readonly starts?: Uint16Array | undefined;
}

/** A chain in the ring: where it begins, how many descriptors it has, and its buffer id. */
export interface HeldPlace {
  readonly offset: number;
  readonly count: number;
  readonly id: number;
}

/**
 * What is in flight on a packed queue, on record for the device that comes after this one: a used descriptor may overwrite one that is in flight,
 * so that each is copied when it is taken.
 *
 * What was pushed and not shown yet is put into the region at once just before it is shown, and not with each push, because what is taken
 * meanwhile must not get the entries of what may still have to be served anew.
 *
 * Where the region is ours, nothing is copied as long as all chains are handed back in the order in which they were taken: what is in flight lies in the
 * ring from the used place on, but for the first descriptors of chains that are handed back and not shown yet. Those are put into the entries of
 * their own places. A counter says how many descriptors came before its chain, so that it need not be put down.
 */
export class PackedInflight {
  readonly #view: MemoryView;
  readonly #words: Int32Array | undefined;
  readonly #entries: number;
  readonly #size: number;
  readonly #ours: boolean;
  readonly #starts: Uint16Array | undefined;
  /** Whether all is in order so far. */
  inOrder = false;
  /** By entry, what the region says, without reading it again. */
  readonly #next: Uint16Array;
  readonly #last: Uint16Array;
  #free = 0;
  #usedIdx: number;
  #usedWrap: number;
  /** Of the next chain that is taken; while all is in order, of the one at the used place. */
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
    const { view, entries, ours = false } = place;
    const { size, base, starts, ring } = options;
    if (entries < size) refuse(`it has ${entries} entries for a queue of ${size}`);
    this.#view = view;
    this.#words = view.words;
    this.#entries = entries;
    this.#size = size;
    this.#ours = ours;
    this.#starts = ours ? starts : undefined;
    this.#next = Uint16Array.from({ length: entries }, (_, i) => i + 1);
    this.#last = new Uint16Array(entries);
    this.#entryOf = new Uint16Array(size);
    this.#batch = new Uint16Array(size);
    this.#usedIdx = (base >>> 16) & 0x7fff;
    this.#usedWrap = base >>> 31;
    const words = (): Int32Array => copyOf(place, packedRegionSize(entries));
    const state = checkHeader(words(), entries, ours);
    this.resumed = state !== 'fresh';
    if (state === 'order') this.#resume(words(), ring);
    if (state === 'entries' || (state === 'order' && !this.inOrder)) {
      this.#settle(words(), options);
      this.#recover(words(), options);
      this.settle(this.#usedPlace);
    }
    if (state === 'fresh') {
      if (ours) this.#counter = (2 - ((base >>> 15) & 1) + 1) * size + (base & 0x7fff);
      this.#begin((base & 0xffff) === base >>> 16);
    }
    this.base = this.resumed ? (this.#usedPlace | (this.#usedPlace << 16)) >>> 0 : base;
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
    this.#putCounter(head, counter);
    this.#counter = this.#ours ? counter + count : nextCounter(counter);
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

  /**
   * While all is in order: a chain is handed back, and a used descriptor is about to take the place of its first one.
   *
   * @param offset - where it begins, and `count` how many descriptors it has.
   */
  save(ring: MemoryView, offset: number, count: number): void {
    // It may be handed back once more, when the ring was out of reach.
    if (this.#batched > 0 && this.#batch[this.#batched - 1] === offset) return;
    const at = entryAt(offset);
    const { words } = ring;
    const from = (PVIRTQ_DESC_SIZE / 4) * offset;
    this.#put(at + LEN, words === undefined ? ring.read32(4 * (from + 2)) : words[from + 2]!);
    this.#put(at + ID_AND_FLAGS, words === undefined ? ring.read32(4 * (from + 3)) : words[from + 3]!);
    this.#put(at + LAST_AND_NUM, count << 16);
    this.#batch[this.#batched++] = offset;
    this.#put(SAVED, this.#batched);
  }

  /** While all is in order: the driver is about to be shown what was pushed. @param used - the place after it. */
  passing(used: number): void {
    this.#put(PLACES, used | (this.#usedPlace << 16));
  }

  /** It was. @param count - of descriptors. */
  passed(used: number, count: number): void {
    this.#batched = 0;
    this.#put(SAVED, 0);
    this.#put(PLACES, used | (used << 16));
    this.#counter += count;
    const around = used >>> 15 !== this.#usedWrap;
    this.#usedIdx = used & 0x7fff;
    this.#usedWrap = used >>> 15;
    if (around) this.#put(1, this.#lap | 0);
  }

  /**
   * The next chain that is handed back is not the next in order: from now on what is in flight is kept by its entries.
   *
   * @param held - those that were taken and not handed back, the oldest first.
   */
  leaveOrder(ring: MemoryView, held: readonly HeldPlace[]): void {
    const saved = Array.from(this.#batch.subarray(0, this.#batched), (offset) => {
      const count = this.#get(entryAt(offset) + LAST_AND_NUM) >>> 16;
      return { offset, count, id: -1 };
    });
    this.#enter(ring, [...saved, ...held], saved.length);
  }

  /** Puts chains into the entries of their places in the ring, and all other entries into the list of those that are free. */
  #enter(ring: MemoryView, chains: readonly HeldPlace[], saved: number): void {
    const size = this.#size;
    const taken = new Uint8Array(this.#entries);
    let counter = this.#counter;
    for (const [nth, { offset, count, id }] of chains.entries()) {
      for (let i = 0; i < count; i++) {
        const place = (offset + i) % size;
        taken[place] = TAKEN_ENTRY;
        this.#next[place] = (place + 1) % size;
        if (i === 0 && nth < saved) this.#copyAddress(ring, place);
        else this.#copy(ring, place, place);
        if (i > 0) this.#put(entryAt(place), this.#next[place]! << 16);
      }
      const last = (offset + count - 1) % size;
      const at = entryAt(offset);
      this.#last[offset] = last;
      if (id >= 0) this.#entryOf[id] = offset;
      this.#putCounter(offset, counter);
      this.#put(at + LAST_AND_NUM, last | (count << 16));
      this.#put(at, 1 | (this.#next[offset]! << 16));
      counter += count;
    }
    this.#counter = counter;
    this.#free = this.#entries;
    for (let entry = this.#entries - 1; entry >= 0; entry--) {
      if (taken[entry] === TAKEN_ENTRY) continue;
      this.#next[entry] = this.#free;
      this.#put(entryAt(entry), this.#free << 16);
      this.#free = entry;
    }
    // For a device after the next one, if nothing is in flight.
    if (this.#free < this.#entries) this.#putCounter(this.#free, counter);
    this.#commit();
    this.inOrder = false;
    this.#put(0, 0);
    this.#put(1, 0);
  }

  /** If nothing is in flight, all is in order again. @param next - the next available place. */
  settle(next: number): void {
    if (this.#starts === undefined || next !== this.#usedPlace || this.#batched > 0 || this.pending > 0)
      return;
    this.inOrder = true;
    this.#put(1, this.#lap | 0);
    this.#put(SAVED, 0);
    this.#put(PLACES, next | (next << 16));
    this.#put(0, IN_ORDER_SO_FAR);
  }

  /** The place of the next used descriptor, as the driver sees it. */
  get #usedPlace(): number {
    return this.#usedIdx | (this.#usedWrap << 15);
  }

  /** How often the used place went round, while all is in order. */
  get #lap(): number {
    return Math.floor(this.#counter / this.#size);
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

  #copyAddress(ring: MemoryView, place: number): void {
    const from = PVIRTQ_DESC_SIZE * place + PVIRTQ_DESC.addr;
    this.#put(entryAt(place) + ADDR, ring.read32(from));
    this.#put(entryAt(place) + ADDR + 1, ring.read32(from + 4));
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
    if (!this.inOrder) return serialOfCounter(this.#get(entryAt(this.#entryOf[id]!) + COUNTER));
    const ahead = this.#starts![id]! - this.#usedIdx;
    return serialOfCounter(this.#counter + (ahead < 0 ? ahead + this.#size : ahead));
  }

  /**
   * Whether the driver was not shown that this chain is used.
   *
   * @param taken - how many descriptors this device took and did not show.
   */
  isOut(id: number, serial: number, taken: number): boolean {
    if (this.#isAhead(id, serial, taken)) return true;
    if (serial >>> 0 === 0x8000_0000 && this.#isAhead(id, 0, taken)) return true;
    if (this.inOrder) return false;
    const isThis = (entry: number): boolean =>
      (this.#get(entryAt(entry)) & 0xff) === 1 &&
      serialOfCounter(this.#get(entryAt(entry) + COUNTER)) === serial >>> 0;
    // What is not taken anew yet is not known by its id.
    return (
      isThis(this.#entryOf[id] ?? 0) ||
      (this.pending > 0 && this.#leftEntries.slice(this.#again).some(isThis))
    );
  }

  /** Whether the chain of this id and counter is one of those that are in order. */
  #isAhead(id: number, counter: number, taken: number): boolean {
    const ahead = (counter - this.#counter) >>> 0;
    if (!this.#ours || ahead >= this.#size) return false;
    // One that this device did not take was taken by an earlier one: while all was in order, the ring alone says that it is there.
    if (!this.inOrder || ahead >= taken) return true;
    return this.#starts![id] === (this.#usedIdx + ahead) % this.#size;
  }

  #putCounter(entry: number, counter: number): void {
    this.#put(entryAt(entry) + COUNTER, counter | 0);
    this.#put(entryAt(entry) + COUNTER + 1, (counter / 2 ** 32) | 0);
  }

  #get(word: number): number {
    return this.#words === undefined ? this.#view.read32(4 * word) | 0 : this.#words[word]!;
  }

  #put(word: number, value: number): void {
    const words = this.#words;
    if (words !== undefined) words[word] = value;
    else this.#view.write32(4 * word, value >>> 0);
  }

  #begin(inOrder: boolean): void {
    for (let entry = 0; entry < this.#entries; entry++) this.#put(entryAt(entry), (entry + 1) << 16);
    this.#put(0, 0);
    this.#put(1, 0);
    this.#commit();
    if (inOrder) this.settle(this.#usedPlace);
    // Last: until it has a version, it is none.
    this.#put(VERSION_AND_ENTRIES, INFLIGHT_VERSION | (this.#entries << 16));
  }

  /**
   * An earlier device had all in order. What it had handed back and not shown is what the ring does not tell: that, and all of it where all has to be,
   * is kept by its entries from now on.
   */
  #resume(words: Int32Array, ring: MemoryView): void {
    const size = this.#size;
    const [used, old] = halves(words[PLACES]!);
    if ((used & 0x7fff) >= size || (old & 0x7fff) >= size)
      refuse(`its used places are ${used & 0x7fff} and ${old & 0x7fff} in a ring of ${size}`);
    const shown = used === old || isShown(ring, old & 0x7fff, old >>> 15);
    const place = shown ? used : old;
    this.#usedIdx = place & 0x7fff;
    this.#usedWrap = place >>> 15;
    const lap = words[1]! >>> 0;
    // It may have died before it put the next one down.
    this.#counter = (lap + ((lap + this.#usedWrap + 1) & 1)) * size + this.#usedIdx;
    // It may also have died when it was about to put down what is in flight.
    for (let entry = 0; entry < this.#entries; entry++) this.#putCounter(entry, 0);
    const chains: HeldPlace[] = [];
    // What was not shown was not begun to be, or is what is about to be.
    const saved = shown && used !== old ? 0 : words[SAVED]!;
    let offset = this.#usedIdx;
    for (let i = 0, total = 0; i < saved; i++) {
      const count = words[entryAt(offset) + LAST_AND_NUM]! >>> 16;
      total += count;
      if (count === 0 || total > size)
        refuse(`${saved} are handed back, of ${count} and ${total} descriptors`);
      chains.push({ offset, count, id: -1 });
      offset = (offset + count) % size;
    }
    if (chains.length > 0 || this.#starts === undefined) {
      this.#enter(ring, chains, chains.length);
      return;
    }
    this.inOrder = true;
    this.#put(SAVED, 0);
    this.#put(PLACES, place | (place << 16));
    this.#put(1, this.#lap | 0);
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
    const highest = highestCounter(left.at(-1)?.counter ?? 0, words, counters);
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
    this.#counter = this.#ours
      ? this.#counterAt(total, Math.max(highest, this.#counter))
      : nextCounter(highest);
    this.#giveBack(ring, size, total);
  }

  /** The counter of the chain that begins so many descriptors behind the used place: the first from `least` on that says this place. */
  #counterAt(behind: number, least: number): number {
    const place = new Place(this.#size, this.#usedPlace);
    place.advance(behind);
    const round = 2 * this.#size;
    const wanted = (place.wrap ? 0 : this.#size) + place.offset;
    return least + ((wanted - (least % round) + round) % round);
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

/** In the header, where nothing is in the document, while all is in order: both used places, and how many chains are handed back and not shown. */
const PLACES: number = QUEUE_REGION_PACKED.desc / 4 - 2;
const SAVED: number = QUEUE_REGION_PACKED.desc / 4 - 1;

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
