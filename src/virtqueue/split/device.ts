import type { GuestMemory } from '../../memory/guest-memory.js';
import type { MemoryView } from '../../memory/memory-view.js';
import { areaView } from '../area.js';
import type { Chain } from '../chain.js';
import type { DeviceQueueOptions } from '../device-queue-options.js';
import { passesEvent } from '../event-index.js';
import { HeldChains, SEGMENTS_MOST } from '../held-chains.js';
import { InOrder } from '../in-order.js';
import { refuse } from '../inflight.js';
import { RingReach } from '../ring-reach.js';
import type { Virtqueue } from '../virtqueue.js';
import { VirtqueueError } from '../virtqueue-error.js';
import { SplitInflight } from './inflight.js';
import {
  AREA_ALIGNMENT,
  availEventOffset,
  descriptorAreaSize,
  deviceAreaSize,
  driverAreaSize,
  isQueueSize,
  usedEventOffset,
  VIRTQ_AVAIL,
  VIRTQ_AVAIL_F_NO_INTERRUPT,
  VIRTQ_USED,
  VIRTQ_USED_ELEM,
  VIRTQ_USED_ELEM_SIZE,
  VIRTQ_USED_F_NO_NOTIFY,
} from './layout.js';
import { walkChain } from './walk.js';

/**
 * The device's end of a split virtqueue (VIRTIO 1.3 §2.7). The driver may be hostile: each field that it can change is read
 * once, checked and then used, and no answer of this class takes more work than the queue size (or 1024 descriptors) allows.
 *
 * With VIRTIO_F_EVENT_IDX a driver kicks only past the last `enableKicks`, so call it after each time the ring ran empty.
 */
export class SplitDeviceQueue implements Virtqueue {
  readonly size: number;
  readonly #options: DeviceQueueOptions;
  readonly #memory: GuestMemory;
  readonly #mask: number;
  readonly #eventIdx: boolean;
  readonly #usedEvent: number;
  readonly #availEvent: number;
  readonly #held: HeldChains;
  readonly #inOrder: InOrder | undefined;
  readonly #tracked: SplitInflight | undefined;
  /** By head: the available index that its chain had. */
  readonly #indices: Uint16Array;
  readonly #reach: RingReach | undefined;

  #table!: MemoryView;
  #avail!: MemoryView;
  #availWords: Int32Array | undefined;
  #used!: MemoryView;
  #usedWords: Int32Array | undefined;
  #generation = -1;
  /** Neither closed nor broken; and not suspended. */
  #open = true;
  #ready = true;
  #broken: VirtqueueError | undefined;

  /** The available index as last read and checked. */
  #availIdx: number;
  /** The same, not checked: when it was only looked at. */
  #seenIdx: number;
  #nextAvail: number;
  #nextUsed: number;
  /** The used index as the driver sees it. */
  #published: number;
  /** Where the used index was at the start; `undefined` once it was published from. */
  #startedAt: number | undefined;
  /** With IN_ORDER: what goes into one used element, so far. */
  #batchHead = 0;
  #batchWritten = 0;
  #batchCount = 0;

  /**
   * The used index goes on from what the ring itself holds, because that is where the driver looks for the next element,
   * whatever `base` is. Where `base` is ahead of it, the buffers between were taken by an earlier device that never
   * handed them back: they stay with the driver until it resets. More than `size` of them can't be.
   *
   * @throws VirtqueueError `QUEUE_SIZE`, `QUEUE_BASE`, `AREA_ALIGNMENT`, `AREA_UNMAPPED` or `USED_INDEX`.
   */
  constructor(options: DeviceQueueOptions) {
    const { memory, size, base } = options;
    if (!isQueueSize(size)) {
      throw new VirtqueueError('QUEUE_SIZE', '2.7', `queue size ${size} is no power of two in 1..32768`);
    }
    if (!(Number.isInteger(base) && base >= 0 && base <= 0xffff)) {
      throw new VirtqueueError('QUEUE_BASE', '2.7.6', `next available index ${base} is not in 0..65535`);
    }
    this.size = size;
    this.#options = options;
    this.#memory = memory;
    this.#mask = size - 1;
    this.#eventIdx = options.eventIdx;
    this.#usedEvent = usedEventOffset(size);
    this.#availEvent = availEventOffset(size);
    this.#held = new HeldChains(memory, size);
    this.#indices = new Uint16Array(size);
    this.#inOrder = options.inOrder === true ? new InOrder(size) : undefined;
    const lengths = {
      descriptor: descriptorAreaSize(size),
      driver: driverAreaSize(size),
      device: deviceAreaSize(size),
    };
    this.#reach = RingReach.of(memory, this.#held, options, lengths, false);
    this.#takeViews();
    this.#nextUsed = this.#used.load16(VIRTQ_USED.idx);
    this.#published = this.#nextUsed;
    this.#startedAt = this.#nextUsed;
    const places = { indices: this.#indices, headAt: (index: number) => this.#headAt(index) };
    this.#tracked =
      options.inflight &&
      new SplitInflight(options.inflight, { size, base, used: this.#nextUsed, ...places });
    // Those that an earlier device left stand for the first that are available.
    const start = this.#tracked?.resumed === true ? this.#nextUsed : base;
    this.#availIdx = start;
    this.#seenIdx = start;
    this.#nextAvail = start;
    if (((start - this.#nextUsed) & 0xffff) > size) {
      const text = `used index ${this.#nextUsed} is more than ${size} behind the next available index ${base}`;
      throw new VirtqueueError('USED_INDEX', '2.7.8', text);
    }
    if (this.#tracked === undefined) return;
    this.#tellOfOld();
    checkLeft(this.#tracked.pending, this.#avail, start);
    if (!this.#tracked.inOrder) this.#track(this.#tracked);
  }

  get inFlight(): number {
    return this.#held.inFlight;
  }

  get base(): number {
    return (this.#nextAvail + (this.#tracked?.pending ?? 0)) & 0xffff;
  }

  get resumed(): boolean {
    return this.#tracked?.resumed === true;
  }

  get waiting(): boolean {
    if (!this.#usable()) return false;
    this.#seenIdx = this.#avail.load16(VIRTQ_AVAIL.idx);
    return this.#seenIdx !== this.#nextAvail;
  }

  get pending(): number {
    return this.#tracked?.pending ?? 0;
  }

  isHeld(head: number): boolean {
    return this.#held.isHeld(head);
  }

  get remote(): boolean {
    return this.#avail.remote === true;
  }

  get reachable(): boolean {
    return this.#reach === undefined || !this.#open || this.#reach.reachable;
  }

  pop(): Chain | undefined {
    if (!this.#usable()) {
      if (this.#broken !== undefined) throw this.#broken;
      return undefined;
    }
    if (this.#availIdx === this.#nextAvail && !this.#moreAvailable()) return undefined;
    const head = this.#readAvail();
    const chain = this.#held.pick(head);
    if (chain === undefined) throw this.#refusal(head);
    try {
      walkChain(chain, this.#memory, this.#table, this.size, this.#options.indirect);
    } catch (error) {
      if (error instanceof VirtqueueError) this.#stop(error);
      throw error;
    }
    if (this.#inOrder !== undefined) {
      if (this.#inOrder.isWaiting(head)) throw this.#refusal(head);
      this.#inOrder.taken(head);
    }
    if (!this.#held.give(chain)) throw this.#tooMany(head);
    this.#indices[head] = this.#nextAvail;
    this.#nextAvail = (this.#nextAvail + 1) & 0xffff;
    return chain;
  }

  serialOf(head: number): number | undefined {
    return this.#tracked?.serialOf(head);
  }

  isOut(head: number, serial: number): boolean {
    return this.#tracked?.isOut(head, serial) === true;
  }

  owns(chain: Chain): boolean {
    return this.#held.owns(chain);
  }

  push(chain: Chain): void {
    const own = this.#held.check(chain);
    const { head, written } = own;
    if (this.#usable()) {
      if (this.#inOrder !== undefined) this.#finish(this.#inOrder, head, written, written === own.writable);
      else if (this.#tracked === undefined || this.#indices[head] === this.#nextUsed)
        this.#use(head, written, 1);
      else this.#useEarly(this.#tracked, head, written);
    }
    // Last: when memory is out of reach for now, the chain is pushed again.
    this.#held.takeBack(own);
  }

  publish(): boolean {
    if (this.#batchCount > 0 && this.#usable()) this.#useBatch();
    if (this.#nextUsed === this.#published || !this.#usable()) return false;
    const before = this.#published;
    // Sequentially consistent, both: the elements are there before the index (§2.7.8.2), and the driver's wish is read
    // after it, or a driver that asks for an interrupt at this moment would get none.
    this.#used.store16(VIRTQ_USED.idx, this.#nextUsed);
    this.#published = this.#nextUsed;
    if (this.#tracked !== undefined) this.#tracked.passed(this.#nextUsed);
    if (!this.#eventIdx) {
      return (this.#avail.load16(VIRTQ_AVAIL.flags) & VIRTQ_AVAIL_F_NO_INTERRUPT) === 0;
    }
    const event = this.#avail.load16(this.#usedEvent);
    const owed = this.#startedAt !== undefined && this.#owes(event);
    return owed || passesEvent(event, before, this.#published);
  }

  disableKicks(): void {
    if (!this.#usable()) return;
    // As far away as an event can be: the entry just passed.
    if (this.#eventIdx) this.#used.write16(this.#availEvent, (this.#nextAvail - 1) & 0xffff);
    else this.#used.write16(VIRTQ_USED.flags, VIRTQ_USED_F_NO_NOTIFY);
  }

  enableKicks(): boolean {
    if (!this.#usable()) return this.#broken !== undefined;
    if (this.#eventIdx) this.#used.store16(this.#availEvent, this.#nextAvail);
    else this.#used.store16(VIRTQ_USED.flags, 0);
    // After the store: a driver that did not see it yet has its index up already (§2.7.13.4.1).
    this.#seenIdx = this.#avail.load16(VIRTQ_AVAIL.idx);
    return this.#seenIdx !== this.#nextAvail;
  }

  suspend(): void {
    this.#ready = false;
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
    this.#ready = false;
    this.#held.end();
  }

  /**
   * From now on each chain in flight is kept on record, but while all is in order. These stand in front of the methods, in this object only: a look for
   * a record in each of them would cost the queues that have none their place in the compiler's budget.
   */
  #track(tracked: SplitInflight): void {
    this.pop = () => (tracked.inOrder ? plain.pop.call(this) : this.#popTracked(tracked));
    this.push = (chain) =>
      tracked.inOrder ? plain.push.call(this, chain) : this.#pushTracked(tracked, chain);
    this.publish = () => (tracked.inOrder ? plain.publish.call(this) : this.#publishTracked(tracked));
  }

  #popTracked(tracked: SplitInflight): Chain | undefined {
    if (tracked.pending > 0) return this.#popAgain(tracked);
    const chain = plain.pop.call(this);
    if (chain !== undefined) tracked.taken(chain.head);
    return chain;
  }

  /** Takes the next chain that an earlier device took and did not hand back. */
  #popAgain(tracked: SplitInflight): Chain | undefined {
    if (!this.#usable()) return plain.pop.call(this);
    if (this.#availIdx === this.#nextAvail && !this.#moreAvailable()) return undefined;
    const head = tracked.next();
    // Each head is on record once, and all of these come before others.
    const chain = this.#held.pick(head)!;
    try {
      walkChain(chain, this.#memory, this.#table, this.size, this.#options.indirect);
    } catch (error) {
      if (error instanceof VirtqueueError) this.#stop(error);
      else tracked.putBack();
      throw error;
    }
    this.#inOrder?.taken(head);
    if (!this.#held.give(chain)) throw this.#tooMany(head);
    this.#nextAvail = (this.#nextAvail + 1) & 0xffff;
    return chain;
  }

  #pushTracked(tracked: SplitInflight, chain: Chain): void {
    const { head } = chain;
    const used = this.#inOrder === undefined && this.#usable();
    plain.push.call(this, chain);
    if (used) tracked.pushed(head);
  }

  /** The next used element is of a chain that is not the oldest in flight. */
  #useEarly(tracked: SplitInflight, head: number, written: number): void {
    const leaves = tracked.inOrder;
    if (leaves) {
      tracked.leaveOrder(this.#nextUsed, this.#nextAvail);
      if (!Object.hasOwn(this, 'pop')) this.#track(tracked);
    }
    this.#use(head, written, 1);
    if (leaves) tracked.pushed(head);
  }

  #publishTracked(tracked: SplitInflight): boolean {
    if (this.#batchCount > 0 && this.#usable()) this.#useBatch();
    if (this.#nextUsed === this.#published || !this.#usable()) return false;
    tracked.showing();
    const wanted = plain.publish.call(this);
    tracked.shown(this.#nextUsed);
    tracked.settle(this.#nextAvail);
    return wanted;
  }

  /**
   * Whether an earlier device on this ring may have died between an element and the interrupt for it: with the first that is
   * published, and only if what the driver waits for was there before. The driver asks anew after each that it saw.
   */
  #owes(event: number): boolean {
    const last = this.#startedAt! - 1;
    this.#startedAt = undefined;
    return ((last - event) & 0xffff) < this.size;
  }

  #headAt(index: number): number | undefined {
    return this.#usable() ? this.#avail.read16(VIRTQ_AVAIL.ring + 2 * (index & this.#mask)) : undefined;
  }

  /** The next head. */
  #readAvail(): number {
    const slot = VIRTQ_AVAIL.ring + 2 * (this.#nextAvail & this.#mask);
    const words = this.#availWords;
    return words === undefined ? this.#avail.read16(slot) : (words[slot >> 2]! >>> (8 * (slot & 2))) & 0xffff;
  }

  /** Writes a used element, after which come those that the driver takes for used with it. */
  #use(head: number, written: number, count: number): void {
    const slot = VIRTQ_USED.ring + VIRTQ_USED_ELEM_SIZE * (this.#nextUsed & this.#mask);
    const words = this.#usedWords;
    if (words !== undefined) {
      words[(slot + VIRTQ_USED_ELEM.id) >> 2] = head;
      words[(slot + VIRTQ_USED_ELEM.len) >> 2] = written;
    } else {
      this.#used.write32(slot + VIRTQ_USED_ELEM.id, head);
      this.#used.write32(slot + VIRTQ_USED_ELEM.len, written);
    }
    this.#nextUsed = (this.#nextUsed + count) & 0xffff;
  }

  /** With IN_ORDER: uses all that no older one keeps back. */
  #finish(inOrder: InOrder, head: number, written: number, whole: boolean): void {
    inOrder.finished(head, written, whole);
    for (let next = inOrder.next; next >= 0; next = inOrder.next) {
      this.#batchHead = next;
      this.#batchWritten = inOrder.writtenOf(next);
      this.#batchCount += 1;
      if (this.#tracked?.inOrder === false) this.#tracked.pushed(next);
      const ends = !inOrder.isWhole(next);
      inOrder.release();
      // Of those that are skipped the driver believes that they were written completely (§2.7.9).
      if (ends) this.#useBatch();
    }
  }

  #useBatch(): void {
    this.#use(this.#batchHead, this.#batchWritten, this.#batchCount);
    this.#batchCount = 0;
  }

  /** Whether the rings may be touched; takes their views anew when guest memory changed. */
  #usable(): boolean {
    if (!this.#ready) return false;
    return this.#generation === this.#memory.generation || this.#follow();
  }

  #follow(): boolean {
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
    const { memory, size, descriptorArea, driverArea, deviceArea, deviceView } = this.#options;
    const { descriptor, driver, device } = AREA_ALIGNMENT;
    this.#reach?.admitRing();
    this.#table = areaView(memory, 'descriptor', descriptorArea, descriptorAreaSize(size), descriptor, '2.7');
    this.#avail = areaView(memory, 'driver', driverArea, driverAreaSize(size), driver, '2.7');
    const used = areaView(memory, 'device', deviceArea, deviceAreaSize(size), device, '2.7');
    this.#used = deviceView === undefined ? used : deviceView(used);
    this.#availWords = this.#avail.words;
    this.#usedWords = this.#used.words;
    this.#generation = this.#memory.generation;
    this.#tellOfOld();
  }

  /** An earlier device may have died between what it wrote to the ring and the mark for it, in a log of what is written. */
  #tellOfOld(): void {
    if (this.#tracked?.resumed === true) this.#used.touch?.();
  }

  #moreAvailable(): boolean {
    let idx = this.#seenIdx;
    if (idx === this.#nextAvail) {
      idx = this.#avail.load16(VIRTQ_AVAIL.idx);
      this.#seenIdx = idx;
    }
    const ahead = (idx - this.#nextAvail) & 0xffff;
    if (ahead === 0) return false;
    // A buffer that the driver did not get back yet takes at least one descriptor, so that many more there can't be.
    const taken = (this.#nextAvail - this.#published) & 0xffff;
    if (ahead > this.size - taken) throw this.#tooFar(idx, ahead, taken);
    this.#availIdx = idx;
    return true;
  }

  #tooFar(idx: number, ahead: number, taken: number): VirtqueueError {
    const text = `available index ${idx} is ${ahead} ahead of ${this.#nextAvail}, with ${taken} of ${this.size} not handed back`;
    return this.#stop(new VirtqueueError('AVAIL_INDEX', '2.7.6', text));
  }

  /** Of a head that the driver named: the device has it, or it is none. */
  #refusal(head: number): VirtqueueError {
    if (head >= this.size) {
      const text = `head index ${head} is not below the queue size ${this.size}`;
      return this.#stop(new VirtqueueError('HEAD_INDEX', '2.7.6', text));
    }
    const text = `head index ${head} was made available again before it was used`;
    return this.#stop(new VirtqueueError('HEAD_IN_FLIGHT', '2.7.13.1', text));
  }

  #tooMany(head: number): VirtqueueError {
    const text = `over ${SEGMENTS_MOST} descriptors are in flight with chain ${head}`;
    return this.#stop(new VirtqueueError('TOO_MANY_SEGMENTS', '2.7.4.2', text));
  }

  /** Breaks the queue: every later `pop` throws the same error. */
  #stop(error: VirtqueueError): VirtqueueError {
    this.#open = false;
    this.#ready = false;
    this.#broken = error;
    return error;
  }
}

const plain: Pick<Virtqueue, 'pop' | 'push' | 'publish'> = SplitDeviceQueue.prototype;

/** An inflight region may say anything: what is in flight was made available. */
function checkLeft(left: number, avail: MemoryView, start: number): void {
  const ahead = (avail.load16(VIRTQ_AVAIL.idx) - start) & 0xffff;
  if (left > ahead)
    refuse(`${left} are in flight, and ${ahead} were made available since the last that was used`);
}
