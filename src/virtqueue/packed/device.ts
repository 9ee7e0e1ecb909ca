import type { GuestMemory } from '../../memory/guest-memory.js';
import type { MemoryView } from '../../memory/memory-view.js';
import { areaView } from '../area.js';
import type { Chain } from '../chain.js';
import type { DeviceQueueOptions } from '../device-queue-options.js';
import { HeldChains, SEGMENTS_MOST } from '../held-chains.js';
import { InOrder } from '../in-order.js';
import { refuse } from '../inflight.js';
import { RingReach } from '../ring-reach.js';
import type { Virtqueue } from '../virtqueue.js';
import { VirtqueueError } from '../virtqueue-error.js';
import { EventWish, isWanted, wishOf } from './events.js';
import { type HeldPlace, PackedInflight } from './inflight.js';
import {
  AREA_ALIGNMENT,
  availableFlags,
  descriptorAreaSize,
  isQueueSize,
  OWNER_FLAGS,
  PVIRTQ_DESC,
  PVIRTQ_DESC_SIZE,
  PVIRTQ_EVENT_SUPPRESS_SIZE,
  usedFlags,
  VIRTQ_DESC_F_AVAIL,
  VIRTQ_DESC_F_WRITE,
} from './layout.js';
import { Place } from './place.js';
import { PackedRing, walkPackedChain } from './walk.js';

/**
 * The device's end of a packed virtqueue (VIRTIO 1.3 §2.8). The driver may be hostile: each field that it can change is read once, checked
 * and then used, and no answer of this class takes more work than the queue size (or 1024 descriptors) allows.
 *
 * `base` has the next available place in its lower 16 bits and the next used one above. With VIRTIO_F_EVENT_IDX a driver kicks only for what
 * the last `enableKicks` named, so call it after each time the ring ran empty.
 */
export class PackedDeviceQueue implements Virtqueue {
  readonly size: number = 0;
  readonly #options: DeviceQueueOptions;
  readonly #memory: GuestMemory;
  readonly #held: HeldChains;
  /** By buffer id: how many descriptors of the ring its chain takes. */
  readonly #counts: Uint16Array;
  /** By buffer id: where in the ring it begins. */
  readonly #starts: Uint16Array;
  readonly #inOrder: InOrder | undefined;
  readonly #tracked: PackedInflight | undefined;
  readonly #wish: EventWish;
  readonly #reach: RingReach | undefined;

  #ring!: MemoryView;
  #words: Int32Array | undefined;
  #walked!: PackedRing;
  #driverEvent!: MemoryView;
  #deviceEvent!: MemoryView;
  /** That of the memory when the views were taken; -1 while the ring is not to be touched. */
  #generation = -1;
  /** Neither closed nor broken; and not suspended. */
  #open = true;
  #ready = true;
  #broken: VirtqueueError | undefined;

  /** The next descriptor to be taken, and what its owner flags are once it can be: that stands for the wrap counter. */
  #next = 0;
  #available = 0;
  /** Where the next used descriptor goes, and the owner flags of one. */
  #used = 0;
  #usedFlags = 0;
  /** Where the driver looks for the next used descriptor, as far as it was shown. */
  readonly #shown: Place;
  /** Descriptors that were used since. */
  #unshown = 0;
  /** Where the first of those is, whose id and flags are kept back until the rest is there; none below 0. */
  #heldBackAt = -1;
  #heldBack = 0;
  /** Descriptors that are with the device, as the driver sees it. */
  #taken = 0;
  /** With IN_ORDER: what goes into one used descriptor, so far. */
  #batchHead = 0;
  #batchWritten = 0;
  #batchCount = 0;
  /** Where the used descriptors began; `undefined` once some were shown. */
  #startedAt: Place | undefined;

  /**
   * Where the next available place is ahead of the next used one, the descriptors between were taken by an earlier device that never handed
   * them back: they stay with the driver until it resets. More than `size` of them can't be.
   *
   * @throws VirtqueueError `QUEUE_SIZE`, `QUEUE_BASE`, `AREA_ALIGNMENT` or `AREA_UNMAPPED`.
   */
  constructor(options: DeviceQueueOptions) {
    const { memory, size } = options;
    if (!isQueueSize(size)) {
      throw new VirtqueueError('QUEUE_SIZE', '2.8', `queue size ${size} is not in 1..32768`);
    }
    this.size = size;
    this.#options = options;
    this.#memory = memory;
    this.#held = new HeldChains(memory, size);
    const lengths = {
      descriptor: descriptorAreaSize(size),
      driver: PVIRTQ_EVENT_SUPPRESS_SIZE,
      device: PVIRTQ_EVENT_SUPPRESS_SIZE,
    };
    this.#reach = RingReach.of(memory, this.#held, options, lengths, true);
    this.#takeViews();
    this.#starts = new Uint16Array(size);
    const { inflight } = options;
    // With IN_ORDER one used descriptor stands for many.
    const starts = options.inOrder === true ? undefined : this.#starts;
    this.#tracked = inflight && new PackedInflight(inflight, { ...options, ring: this.#ring, starts });
    this.#tellOfOld();
    const base = this.#tracked?.resumed === true ? this.#tracked.base : options.base;
    if (!(Number.isInteger(base) && base >= 0 && base <= 0xffff_ffff)) {
      throw new VirtqueueError('QUEUE_BASE', '2.8.1', `${base} is no pair of places in a ring`);
    }
    const next = new Place(size, base);
    const used = new Place(size, base >>> 16);
    this.#taken = next.from(used);
    if (!next.valid || !used.valid || this.#taken > size) {
      const text = `0x${base.toString(16)} is no pair of places in a ring of ${size}`;
      throw new VirtqueueError('QUEUE_BASE', '2.8.1', text);
    }
    this.#next = next.offset;
    this.#available = availableFlags(next.wrap);
    this.#used = used.offset;
    this.#usedFlags = usedFlags(used.wrap);
    this.#shown = used;
    this.#startedAt = new Place(size, used.bits);
    this.#counts = new Uint16Array(size);
    this.#inOrder = options.inOrder === true ? new InOrder(size) : undefined;
    this.#wish = new EventWish(options.eventIdx);
    if (this.#tracked?.inOrder === false) this.#track(this.#tracked);
  }

  get inFlight(): number {
    return this.#held.inFlight;
  }

  get base(): number {
    const next = new Place(this.size, this.#nextPlace);
    next.advance(this.#tracked?.pendingDescriptors ?? 0);
    return (next.bits | (this.#usedPlace << 16)) >>> 0;
  }

  get resumed(): boolean {
    return this.#tracked?.resumed === true;
  }

  get waiting(): boolean {
    return this.#usable() && this.#isAvailable(this.#look());
  }

  get pending(): number {
    return this.#tracked?.pending ?? 0;
  }

  isHeld(head: number): boolean {
    return this.#held.isHeld(head);
  }

  get remote(): boolean {
    return this.#ring.remote === true;
  }

  get reachable(): boolean {
    return this.#reach === undefined || !this.#open || this.#reach.reachable;
  }

  pop(): Chain | undefined {
    if (!this.#usable()) {
      if (this.#broken !== undefined) throw this.#broken;
      return undefined;
    }
    const idAndFlags = this.#look();
    if (!this.#isAvailable(idAndFlags)) return undefined;
    const id = idAndFlags & 0xffff;
    // The last descriptor of a list has its id; mostly all have.
    const picked = this.#held.pick(id);
    const chain = picked ?? this.#held.spare;
    const room = this.size - this.#taken;
    if (room === 0) throw this.#overrun();
    let idAndCount: number;
    try {
      idAndCount = walkPackedChain(chain, this.#walked, this.#next, idAndFlags, room);
    } catch (error) {
      if (error instanceof VirtqueueError) this.#stop(error);
      throw error;
    }
    const head = idAndCount & 0xffff;
    const count = idAndCount >>> 16;
    if (picked === undefined || head !== id) {
      if (this.#held.isHeld(head)) throw this.#twice(head);
      this.#held.rename(chain, head);
    }
    if (this.#inOrder !== undefined) {
      if (this.#inOrder.isWaiting(head)) throw this.#twice(head);
      this.#inOrder.taken(head);
    }
    if (!this.#held.give(chain)) throw this.#tooMany(head);
    this.#counts[head] = count;
    this.#starts[head] = this.#next;
    this.#taken += count;
    const next = this.#next + count;
    if (next < this.size) this.#next = next;
    else {
      this.#next = next - this.size;
      this.#available ^= OWNER;
    }
    return chain;
  }

  /**
   * From now on each chain in flight is kept on record, but while all is in order. These stand in front of the methods, in this object only: a look for
   * a record in each of them would cost the queues that have none their place in the compiler's budget.
   */
  #track(tracked: PackedInflight): void {
    this.pop = () => (tracked.inOrder ? plain.pop.call(this) : this.#popTracked(tracked));
    this.push = (chain) =>
      tracked.inOrder ? plain.push.call(this, chain) : this.#pushTracked(tracked, chain);
    this.publish = () => (tracked.inOrder ? plain.publish.call(this) : this.#publishTracked(tracked));
  }

  #popTracked(tracked: PackedInflight): Chain | undefined {
    if (tracked.pending > 0) return this.#popAgain(tracked);
    const first = this.#next;
    const chain = plain.pop.call(this);
    if (chain === undefined) return undefined;
    const { head } = chain;
    tracked.taken(this.#ring, this.size, first, this.#counts[head]!, head);
    return chain;
  }

  #pushTracked(tracked: PackedInflight, chain: Chain): void {
    const { head } = chain;
    const used = this.#inOrder === undefined && this.#usable();
    plain.push.call(this, chain);
    if (used) tracked.pushed(head);
  }

  /** The next used descriptor, where what is in flight is on record. */
  #useTracked(tracked: PackedInflight, head: number, written: number): void {
    const count = this.#counts[head]!;
    if (!tracked.inOrder || this.#starts[head] === this.#used) {
      if (tracked.inOrder) tracked.save(this.#ring, this.#used, count);
      this.#use(head, written, count);
      return;
    }
    tracked.leaveOrder(this.#ring, this.#heldPlaces());
    if (!Object.hasOwn(this, 'pop')) this.#track(tracked);
    this.#use(head, written, count);
    tracked.pushed(head);
  }

  /** The chains that the device holds, the oldest first. Each lies behind the one before it. */
  #heldPlaces(): HeldPlace[] {
    const ids = new Int32Array(this.size).fill(-1);
    for (let id = 0; id < this.size; id++) if (this.#held.isHeld(id)) ids[this.#starts[id]!] = id;
    const all: HeldPlace[] = [];
    let offset = this.#used;
    for (let left = this.#held.inFlight; left > 0; left--) {
      const id = ids[offset]!;
      const count = this.#counts[id]!;
      all.push({ offset, count, id });
      offset = (offset + count) % this.size;
    }
    return all;
  }

  #publishTracked(tracked: PackedInflight): boolean {
    if (!this.#usable()) return false;
    if (this.#batchCount > 0) this.#useBatch();
    if (this.#unshown === 0) return false;
    tracked.showing(this.#usedPlace);
    const wanted = plain.publish.call(this);
    tracked.shown();
    tracked.settle(this.#nextPlace);
    return wanted;
  }

  /** Takes the next chain that an earlier device took and did not hand back. What it was is on record: the ring may say something else now. */
  #popAgain(tracked: PackedInflight): Chain | undefined {
    if (!this.#usable()) return plain.pop.call(this);
    const { left, leftAt, leftCount } = tracked;
    const chain = this.#held.spare;
    const idAndFlags = left.view.read32(PVIRTQ_DESC_SIZE * leftAt + PVIRTQ_DESC.id);
    try {
      const idAndCount = walkPackedChain(chain, left, leftAt, idAndFlags, leftCount);
      const head = idAndCount & 0xffff;
      const count = idAndCount >>> 16;
      if (count !== leftCount) refuse(`a chain of ${leftCount} descriptors ends after ${count}`);
      if (this.#held.isHeld(head) || this.#inOrder?.isWaiting(head) === true)
        refuse(`buffer ${head} is in it twice`);
      this.#held.rename(chain, head);
      this.#inOrder?.taken(head);
      if (!this.#held.give(chain)) throw this.#tooMany(head);
      tracked.takenAgain(head);
      this.#counts[head] = count;
      this.#taken += count;
      const place = new Place(this.size, this.#nextPlace);
      place.advance(count);
      this.#next = place.offset;
      this.#available = availableFlags(place.wrap);
      return chain;
    } catch (error) {
      if (error instanceof VirtqueueError) this.#stop(error);
      throw error;
    }
  }

  serialOf(head: number): number | undefined {
    return this.#tracked?.serialOf(head);
  }

  isOut(head: number, serial: number): boolean {
    return this.#tracked?.isOut(head, serial, this.#taken) === true;
  }

  owns(chain: Chain): boolean {
    return this.#held.owns(chain);
  }

  push(chain: Chain): void {
    const own = this.#held.check(chain);
    const { head, written } = own;
    if (this.#usable()) {
      if (this.#tracked !== undefined && this.#inOrder === undefined)
        this.#useTracked(this.#tracked, head, written);
      else if (this.#inOrder === undefined) this.#use(head, written, this.#counts[head]!);
      else this.#finish(this.#inOrder, head, written, written === own.writable);
    }
    // Last: when memory is out of reach for now, the chain is pushed again.
    this.#held.takeBack(own);
  }

  publish(): boolean {
    if (!this.#usable()) return false;
    if (this.#batchCount > 0) this.#useBatch();
    const shown = this.#unshown;
    if (shown === 0) return false;
    // Sequentially consistent: what the driver does not look at before this one is there (§2.8.2), and its wish is read after it, or a driver
    // that asks for an interrupt at this moment would get none.
    const record = this.#tracked?.inOrder === true ? this.#tracked : undefined;
    if (record !== undefined) record.passing(this.#usedPlace);
    this.#showFirst();
    if (record !== undefined) record.passed(this.#usedPlace, shown);
    this.#taken -= shown;
    this.#unshown = 0;
    const wish = wishOf(this.#driverEvent, this.#options.eventIdx);
    const owed = this.#startedAt !== undefined && this.#owes(wish);
    const wanted = isWanted(wish, this.#shown, shown);
    this.#shown.set(this.#usedPlace);
    return owed || wanted;
  }

  disableKicks(): void {
    if (this.#usable()) this.#wish.disable(this.#deviceEvent);
  }

  enableKicks(): boolean {
    if (!this.#usable()) return this.#broken !== undefined;
    this.#wish.enable(this.#deviceEvent, this.#nextPlace);
    // After the store: a driver that did not see it yet has made the descriptor available already (§2.8.21.3.1).
    return this.#isAvailable(this.#look());
  }

  suspend(): void {
    this.#stand();
    this.#held.suspend();
  }

  resume(): void {
    this.#ready = this.#open;
    this.#held.resume();
  }

  isStarved(chain: Chain): boolean {
    return this.#held.isStarved(chain);
  }

  get lastStarved(): Chain | undefined {
    return this.#held.lastStarved;
  }

  rewind(chain: Chain): void {
    this.#held.rewind(chain);
  }

  close(): void {
    this.#open = false;
    this.#stand();
    this.#held.end();
  }

  /** The id and flags of the next descriptor, the flags above: nothing else of it is read before these. */
  #look(): number {
    return this.#ring.loadWord(4 * (DESC_WORDS * this.#next + ID_AND_FLAGS));
  }

  #isAvailable(idAndFlags: number): boolean {
    return ((idAndFlags >>> 16) & OWNER) === this.#available;
  }

  /** Both places, as `Place.bits` says them. */
  get #nextPlace(): number {
    return this.#next | (this.#available === VIRTQ_DESC_F_AVAIL ? 0x8000 : 0);
  }

  get #usedPlace(): number {
    return this.#used | (this.#usedFlags === 0 ? 0 : 0x8000);
  }

  /** Writes a used descriptor in the place of `count`. */
  #use(head: number, written: number, count: number): void {
    const offset = this.#used;
    const flags = written > 0 ? this.#usedFlags | WRITE : this.#usedFlags;
    const idAndFlags = (flags << 16) | head;
    const words = this.#words;
    if (words !== undefined) words[DESC_WORDS * offset + LENGTH] = written;
    else this.#ring.write32(PVIRTQ_DESC_SIZE * offset + PVIRTQ_DESC.len, written);
    if (this.#heldBackAt < 0) {
      // The driver looks here first, so it sees nothing of the others before this one has its flags.
      this.#heldBackAt = offset;
      this.#heldBack = idAndFlags;
    } else if (words !== undefined) {
      words[DESC_WORDS * offset + ID_AND_FLAGS] = idAndFlags;
    } else {
      this.#ring.write32(PVIRTQ_DESC_SIZE * offset + PVIRTQ_DESC.id, idAndFlags);
    }
    const next = offset + count;
    if (next < this.size) this.#used = next;
    else {
      this.#used = next - this.size;
      this.#usedFlags ^= OWNER;
    }
    this.#unshown += count;
  }

  /** Shows what was kept back, and with it all that was used since. */
  #showFirst(): void {
    const at = PVIRTQ_DESC_SIZE * this.#heldBackAt;
    this.#ring.write16(at + PVIRTQ_DESC.id, this.#heldBack & 0xffff);
    this.#ring.store16(at + PVIRTQ_DESC.flags, this.#heldBack >>> 16);
    this.#heldBackAt = -1;
  }

  /** With IN_ORDER: uses all that no older one keeps back. */
  #finish(inOrder: InOrder, head: number, written: number, whole: boolean): void {
    inOrder.finished(head, written, whole);
    for (let next = inOrder.next; next >= 0; next = inOrder.next) {
      this.#batchHead = next;
      this.#batchWritten = inOrder.writtenOf(next);
      this.#batchCount += this.#counts[next]!;
      if (this.#tracked !== undefined) this.#tracked.pushed(next);
      const ends = !inOrder.isWhole(next);
      inOrder.release();
      // Of those that are skipped the driver believes that they were written completely (§2.8.8).
      if (ends) this.#useBatch();
    }
  }

  #useBatch(): void {
    this.#use(this.#batchHead, this.#batchWritten, this.#batchCount);
    this.#batchCount = 0;
  }

  /**
   * Whether an earlier device on this ring may have died between a used descriptor and the interrupt for it: with the first that is shown,
   * and only if what the driver waits for was there before. The driver asks anew after each that it saw.
   */
  #owes(wish: number): boolean {
    const started = this.#startedAt!;
    this.#startedAt = undefined;
    if (wish < 0) return false;
    const event = new Place(this.size, wish);
    if (!event.valid) return false;
    const behind = started.from(event);
    return behind > 0 && behind <= this.size;
  }

  /** Whether the ring may be touched; takes its views anew when guest memory changed. */
  #usable(): boolean {
    return this.#generation === this.#memory.generation || this.#follow();
  }

  #stand(): void {
    this.#ready = false;
    this.#generation = -1;
  }

  #follow(): boolean {
    if (!this.#ready) return false;
    try {
      this.#takeViews();
      return true;
    } catch (error) {
      if (!(error instanceof VirtqueueError)) throw error;
      this.#stop(error);
      return false;
    }
  }

  #takeViews(): void {
    const { memory, descriptorArea, driverArea, deviceArea, deviceView, indirect } = this.#options;
    const { descriptor, driver, device } = AREA_ALIGNMENT;
    const events = PVIRTQ_EVENT_SUPPRESS_SIZE;
    const ringSize = descriptorAreaSize(this.size);
    this.#reach?.admitRing();
    this.#ring = areaView(memory, 'descriptor', descriptorArea, ringSize, descriptor, SECTION);
    this.#words = this.#ring.words;
    this.#driverEvent = areaView(memory, 'driver', driverArea, events, driver, SECTION);
    const deviceEvent = areaView(memory, 'device', deviceArea, events, device, SECTION);
    this.#deviceEvent = deviceView === undefined ? deviceEvent : deviceView(deviceEvent);
    this.#walked = new PackedRing(memory, this.#ring, this.size, indirect);
    this.#generation = memory.generation;
    this.#tellOfOld();
  }

  /** An earlier device may have died between what it wrote to the ring and the mark for it, in a log of what is written. */
  #tellOfOld(): void {
    if (this.#tracked?.resumed !== true) return;
    this.#ring.touch?.();
    this.#deviceEvent.touch?.();
  }

  #overrun(): VirtqueueError {
    const text = `descriptor ${this.#next} is available, though all ${this.size} are with the device`;
    return this.#stop(new VirtqueueError('RING_OVERRUN', '2.8.16', text));
  }

  #twice(id: number): VirtqueueError {
    const text = `buffer id ${id} was made available again before it was used`;
    return this.#stop(new VirtqueueError('BUFFER_IN_FLIGHT', '2.8.21.1', text));
  }

  #tooMany(id: number): VirtqueueError {
    const text = `over ${SEGMENTS_MOST} descriptors are in flight with buffer ${id}`;
    return this.#stop(new VirtqueueError('TOO_MANY_SEGMENTS', '2.8.17', text));
  }

  /** Breaks the queue: every later `pop` throws the same error. */
  #stop(error: VirtqueueError): VirtqueueError {
    this.#open = false;
    this.#stand();
    this.#broken = error;
    return error;
  }
}

const plain: Pick<Virtqueue, 'pop' | 'push' | 'publish'> = PackedDeviceQueue.prototype;

/** Where the areas' alignment is. */
const SECTION = '2.8.10.1';

/** Of this module, as what is imported is looked up at each use. */
const OWNER: number = OWNER_FLAGS;
const WRITE: number = VIRTQ_DESC_F_WRITE;

/** A descriptor by words. */
const DESC_WORDS: number = PVIRTQ_DESC_SIZE / 4;
const LENGTH: number = PVIRTQ_DESC.len / 4;
const ID_AND_FLAGS: number = PVIRTQ_DESC.id / 4;
