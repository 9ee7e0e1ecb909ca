import type { GuestAddress } from '../../memory/address.js';
import type { GuestAllocator, GuestBuffer } from '../../memory/guest-allocator.js';
import type { MemoryView } from '../../memory/memory-view.js';
import { bytesIn } from '../bytes-in.js';
import type { DriverQueue, DriverQueueOptions, UsedChain } from '../driver-queue.js';
import { makeAreas } from '../ring-areas.js';
import { SentChains } from '../sent-chains.js';
import { VirtqueueError } from '../virtqueue-error.js';
import { fillTable, idOf, lengthOf, writeDescriptor, writeElement } from './descriptors.js';
import { EventWish, isWanted, wishOf } from './events.js';
import {
  availableFlags,
  descriptorAreaSize,
  FRESH_BASE,
  isQueueSize,
  OWNER_FLAGS,
  PVIRTQ_DESC,
  PVIRTQ_DESC_SIZE,
  PVIRTQ_EVENT_SUPPRESS_SIZE,
  usedFlags,
  VIRTQ_DESC_F_AVAIL,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
} from './layout.js';
import { Place } from './place.js';

/** Descriptors of the indirect table that each buffer id has; longer chains take descriptors of the ring. */
const INDIRECT_ENTRIES = 16;

// Of this module, as what is imported is looked up at each use.
const OWNER: number = OWNER_FLAGS;
const NEXT: number = VIRTQ_DESC_F_NEXT;
const WRITE: number = VIRTQ_DESC_F_WRITE;
const DESC_SIZE: number = PVIRTQ_DESC_SIZE;

/**
 * The driver's end of a packed virtqueue (VIRTIO 1.3 §2.8). The device may be hostile: what it can change is never relied on, so chains and
 * free buffer ids are kept in arrays of our own.
 *
 * @typeParam Token - what the caller wants back when a chain was used.
 */
export class PackedDriverQueue<Token> implements DriverQueue<Token> {
  readonly size: number = 0;
  readonly descriptorArea: GuestAddress;
  readonly driverArea: GuestAddress;
  readonly deviceArea: GuestAddress;
  readonly base: number;
  readonly #allocator: GuestAllocator;
  readonly #areas: readonly GuestBuffer[];
  readonly #eventIdx: boolean;

  readonly #ring: MemoryView;
  readonly #words: Int32Array | undefined;
  readonly #driverEvent: MemoryView;
  readonly #deviceEvent: MemoryView;
  /** An indirect table for each buffer id, one after the other, or `undefined`. */
  readonly #indirect: MemoryView | undefined;
  readonly #indirectWords: Int32Array | undefined;
  readonly #indirectAddress: number = 0;

  readonly #sent: SentChains<Token>;
  readonly #wish: EventWish;
  /** By buffer id: the next one that is free. */
  readonly #nextId: Uint16Array;
  #firstId = 0;
  /** By buffer id: how many descriptors of the ring its chain takes. */
  readonly #counts: Uint16Array;
  #free = 0;

  /** Where the next descriptor is made available, and the owner flags of one: those stand for the wrap counter. */
  #next = 0;
  #available = 0;
  /** Where the device was shown all before. */
  readonly #shown: Place;
  /** Descriptors that were added since. */
  #unshown = 0;
  /** The first of those, in bytes, with flags that are kept back until the rest is there; none below 0. */
  #heldBackAt = -1;
  #heldBackFlags = 0;
  /** Where the next used descriptor will be, and its owner flags. */
  #used = 0;
  #usedFlags = 0;
  #detached = false;
  #broken: VirtqueueError | undefined;

  /** @throws RangeError for a size or base that can't be, or when the allocator has no room. */
  constructor(options: DriverQueueOptions) {
    const { memory, allocator, size, base = FRESH_BASE } = options;
    if (!isQueueSize(size)) throw new RangeError(`queue size ${size} is not in 1..32768`);
    const start = new Place(size, base);
    if (base !== (start.bits | (start.bits << 16)) >>> 0 || !start.valid) {
      throw new RangeError(`0x${base.toString(16)} is not twice the same place in a ring of ${size}`);
    }
    this.size = size;
    this.base = base;
    this.#allocator = allocator;
    this.#eventIdx = options.eventIdx;
    this.#shown = new Place(size, base);
    this.#next = start.offset;
    this.#available = availableFlags(start.wrap);
    this.#used = start.offset;
    this.#usedFlags = usedFlags(start.wrap);

    const tables = options.indirect ? [size * INDIRECT_ENTRIES * PVIRTQ_DESC_SIZE] : [];
    const lengths = [
      descriptorAreaSize(size),
      PVIRTQ_EVENT_SUPPRESS_SIZE,
      PVIRTQ_EVENT_SUPPRESS_SIZE,
      ...tables,
    ];
    this.#areas = makeAreas(memory, allocator, lengths);
    const [ring, driver, device, indirect] = this.#areas;
    const view = (area: GuestBuffer): MemoryView => memory.view(area.address, area.length);
    this.descriptorArea = ring!.address;
    this.driverArea = driver!.address;
    this.deviceArea = device!.address;
    this.#ring = view(ring!);
    this.#words = this.#ring.words;
    this.#driverEvent = view(driver!);
    this.#deviceEvent = view(device!);
    this.#indirect = indirect && view(indirect);
    this.#indirectWords = this.#indirect?.words;
    this.#indirectAddress = indirect?.address ?? 0;

    this.#sent = new SentChains(size, options.inOrder === true, '2.8.22');
    this.#wish = new EventWish(options.eventIdx);
    this.#nextId = Uint16Array.from({ length: size }, (_, i) => i + 1);
    this.#counts = new Uint16Array(size);
    this.#free = size;
    if (base !== FRESH_BASE) this.#markUsed(start);
  }

  get inFlight(): number {
    return this.#sent.inFlight;
  }

  get free(): number {
    return this.#free;
  }

  get nextPlace(): number {
    return this.#next | (this.#available === VIRTQ_DESC_F_AVAIL ? 0x8000 : 0);
  }

  /** @throws VirtqueueError when the device broke the queue before. */
  add(readable: readonly GuestBuffer[], writable: readonly GuestBuffer[], token: Token): boolean {
    if (this.#broken !== undefined) throw this.#broken;
    if (this.#detached) throw new TypeError('this queue was detached');
    const count = readable.length + writable.length;
    if (count === 0 || count > this.size) {
      throw new RangeError(`a chain has 1 to ${this.size} buffers here, not ${count}`);
    }
    const room = bytesIn(writable);
    if (bytesIn(readable) + room > 0xffff_ffff) throw new RangeError('a chain has less than 2^32 bytes');

    const indirect = this.#indirect !== undefined && count > 1 && count <= INDIRECT_ENTRIES;
    const needed = indirect ? 1 : count;
    if (needed > this.#free) return false;
    const id = this.#firstId;
    this.#firstId = this.#nextId[id]!;
    if (indirect) {
      const first = id * INDIRECT_ENTRIES;
      fillTable(this.#indirect!, this.#indirectWords, first, readable, writable);
      const table = this.#indirectAddress + PVIRTQ_DESC_SIZE * first;
      this.#place(table, PVIRTQ_DESC_SIZE * count, id, VIRTQ_DESC_F_INDIRECT);
    } else {
      this.#placeAll(readable, 0, id, writable.length > 0);
      this.#placeAll(writable, WRITE, id, false);
    }
    this.#counts[id] = needed;
    this.#free -= needed;
    this.#sent.add(id, room, token);
    return true;
  }

  publish(): boolean {
    const shown = this.#unshown;
    if (shown === 0 || this.#stopped) return false;
    this.#unshown = 0;
    this.#sent.publish();
    // Sequentially consistent: what comes after this descriptor is there before the device looks at it (§2.8.21.1.1), and the device's wish
    // is read after it (§2.8.21.3.1).
    this.#ring.store16(this.#heldBackAt + PVIRTQ_DESC.flags, this.#heldBackFlags);
    this.#heldBackAt = -1;
    const wanted = isWanted(wishOf(this.#deviceEvent, this.#eventIdx), this.#shown, shown);
    this.#shown.set(this.nextPlace);
    return wanted;
  }

  /** @throws VirtqueueError `USED_ID` or `USED_LEN`. */
  reap(): UsedChain<Token> | undefined {
    if (this.#stopped) {
      if (this.#broken !== undefined) throw this.#broken;
      return undefined;
    }
    const sent = this.#sent;
    if (sent.next < 0 && !this.#look()) return undefined;
    const { next: id, written } = sent;
    const count = this.#counts[id]!;
    const used = this.#used + count;
    if (used < this.size) this.#used = used;
    else {
      this.#used = used - this.size;
      this.#usedFlags ^= OWNER;
    }
    this.#free += count;
    this.#nextId[id] = this.#firstId;
    this.#firstId = id;
    return { token: sent.take(), written };
  }

  disableInterrupts(): void {
    if (!this.#stopped) this.#wish.disable(this.#driverEvent);
  }

  enableInterrupts(): boolean {
    if (this.#stopped) return this.#broken !== undefined;
    if (this.#sent.next >= 0) return true;
    this.#wish.enable(this.#driverEvent, this.#used | (this.#usedFlags === 0 ? 0 : 0x8000));
    // After the store: a device that did not see it yet has used the descriptor already (§2.8.22).
    return this.#isUsed(this.#flagsOfUsed());
  }

  detach(): Token[] {
    if (this.#detached) return [];
    this.#detached = true;
    this.#broken = undefined;
    for (const area of this.#areas) this.#allocator.free(area);
    return this.#sent.takeAll();
  }

  get #stopped(): boolean {
    return this.#detached || this.#broken !== undefined;
  }

  #placeAll(buffers: readonly GuestBuffer[], flags: number, id: number, more: boolean): void {
    const last = more ? -1 : buffers.length - 1;
    for (let i = 0; i < buffers.length; i++) {
      const { address, length } = buffers[i]!;
      this.#place(address, length, id, i === last ? flags : flags | NEXT);
    }
  }

  /** Writes the next descriptor. */
  #place(address: number, length: number, id: number, flags: number): void {
    const offset = this.#next;
    const whole = flags | this.#available;
    if (this.#heldBackAt < 0) this.#holdBack(offset, address, length, id, whole);
    else writeDescriptor(this.#ring, this.#words, offset, address, length, id, whole);
    this.#unshown += 1;
    const next = offset + 1;
    if (next < this.size) this.#next = next;
    else {
      this.#next = 0;
      this.#available ^= OWNER;
    }
  }

  /** Writes a descriptor without its flags: the device looks there first, so it sees nothing of the others before those (§2.8.17). */
  #holdBack(offset: number, address: number, length: number, id: number, flags: number): void {
    this.#heldBackAt = DESC_SIZE * offset;
    this.#heldBackFlags = flags;
    writeElement(this.#ring, this.#words, offset, address, length);
    this.#ring.write16(this.#heldBackAt + PVIRTQ_DESC.id, id);
  }

  /** Whether the device used something: it is the next of `#sent` then. */
  #look(): boolean {
    const flags = this.#flagsOfUsed();
    if (!this.#isUsed(flags)) return false;
    const offset = this.#used;
    const id = idOf(this.#ring, this.#words, offset);
    // Without F_WRITE the length means nothing (§2.8.4).
    const written = (flags & WRITE) === 0 ? 0 : lengthOf(this.#ring, this.#words, offset);
    try {
      this.#sent.name(id, written);
    } catch (error) {
      if (error instanceof VirtqueueError) this.#broken = error;
      throw error;
    }
    return true;
  }

  #flagsOfUsed(): number {
    return this.#ring.load16(PVIRTQ_DESC_SIZE * this.#used + PVIRTQ_DESC.flags);
  }

  #isUsed(flags: number): boolean {
    return (flags & OWNER) === this.#usedFlags;
  }

  /** Leaves the ring as one that has been gone round: each descriptor as the device used it last. */
  #markUsed({ offset, wrap }: Place): void {
    for (let i = 0; i < this.size; i++) {
      this.#ring.write16(PVIRTQ_DESC_SIZE * i + PVIRTQ_DESC.flags, usedFlags(i < offset ? wrap : !wrap));
    }
  }
}
