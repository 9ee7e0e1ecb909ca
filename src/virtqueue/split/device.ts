import type { GuestAddress } from '../../memory/address.js';
import type { GuestMemory } from '../../memory/guest-memory.js';
import { isSuspension, MemoryError } from '../../memory/memory-error.js';
import type { MemoryView } from '../../memory/memory-view.js';
import type { Chain } from '../chain.js';
import type { DeviceQueueOptions } from '../device-queue-options.js';
import { passesEvent } from '../event-index.js';
import type { Virtqueue } from '../virtqueue.js';
import { VirtqueueError } from '../virtqueue-error.js';
import { SplitChain, type Starving } from './chain.js';
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

/** Segments in flight at once, over all chains: what honest drivers never reach, at 12 bytes of ours for each. */
const SEGMENTS_MOST = 1 << 20;

/** Bytes that are kept for a ring whose memory is out of reach for now; a chain with more begins anew. */
const KEPT_MOST = 16 << 20;

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
  /** One for each head index, made when it is first seen. */
  readonly #chains: (SplitChain | undefined)[];

  #table!: MemoryView;
  #avail!: MemoryView;
  #availWords: Int32Array | undefined;
  #used!: MemoryView;
  #usedWords: Int32Array | undefined;
  #generation = -1;
  #closed = false;
  #suspended: Starving | undefined;
  #lastStarved: SplitChain | undefined;
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
  #inFlight = 0;
  #segmentsInFlight = 0;

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
    this.#chains = new Array<SplitChain | undefined>(size).fill(undefined);
    this.#takeViews();
    this.#availIdx = base;
    this.#seenIdx = base;
    this.#nextAvail = base;
    this.#nextUsed = this.#used.load16(VIRTQ_USED.idx);
    this.#published = this.#nextUsed;
    this.#startedAt = this.#nextUsed;
    if (((base - this.#nextUsed) & 0xffff) > size) {
      const text = `used index ${this.#nextUsed} is more than ${size} behind the next available index ${base}`;
      throw new VirtqueueError('USED_INDEX', '2.7.8', text);
    }
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get base(): number {
    return this.#nextAvail;
  }

  get waiting(): boolean {
    if (!this.#usable()) return false;
    this.#seenIdx = this.#avail.load16(VIRTQ_AVAIL.idx);
    return this.#seenIdx !== this.#nextAvail;
  }

  get remote(): boolean {
    return this.#avail.remote === true;
  }

  pop(): Chain | undefined {
    if (!this.#usable()) {
      if (this.#broken !== undefined) throw this.#broken;
      return undefined;
    }
    if (this.#availIdx === this.#nextAvail && !this.#moreAvailable()) return undefined;
    const chain = this.#chainOf(this.#readAvail());
    try {
      walkChain(chain, this.#memory, this.#table, this.size, this.#options.indirect);
    } catch (error) {
      if (error instanceof VirtqueueError) this.#broken = error;
      throw error;
    }
    this.#segmentsInFlight += chain.segments;
    if (this.#segmentsInFlight > SEGMENTS_MOST) {
      const text = `over ${SEGMENTS_MOST} descriptors are in flight with chain ${chain.head}`;
      this.#fail('TOO_MANY_SEGMENTS', '2.7.4.2', text);
    }
    this.#nextAvail = (this.#nextAvail + 1) & 0xffff;
    this.#inFlight += 1;
    chain.start();
    // Reading the ring may be what memory was taken away in.
    if (this.#suspended !== undefined) chain.suspend(this.#suspended);
    return chain;
  }

  owns(chain: Chain): boolean {
    return this.#chains[chain.head] === chain;
  }

  push(chain: Chain): void {
    const own = this.#chains[chain.head];
    if (own !== chain || !own.inFlight) {
      throw new TypeError(`chain ${chain.head} is not in flight on this queue`);
    }
    if (this.#usable()) {
      this.#writeUsed(own.head, own.written);
      this.#nextUsed = (this.#nextUsed + 1) & 0xffff;
    }
    // Last: when memory is out of reach for now, the chain is pushed again.
    own.end();
    this.#inFlight -= 1;
    this.#segmentsInFlight -= own.segments;
  }

  publish(): boolean {
    if (this.#nextUsed === this.#published || !this.#usable()) return false;
    const before = this.#published;
    // Sequentially consistent, both: the elements are there before the index (§2.7.8.2), and the driver's wish is read
    // after it, or a driver that asks for an interrupt at this moment would get none.
    this.#used.store16(VIRTQ_USED.idx, this.#nextUsed);
    this.#published = this.#nextUsed;
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
    this.#suspended = {
      room: KEPT_MOST,
      starved: (chain) => {
        this.#lastStarved = chain;
      },
    };
    for (const chain of this.#chains) if (chain?.inFlight) chain.suspend(this.#suspended);
  }

  resume(): void {
    this.#suspended = undefined;
    for (const chain of this.#chains) if (chain?.inFlight) chain.resume();
  }

  isStarved(chain: Chain): boolean {
    return this.#chains[chain.head]?.starved === true;
  }

  get lastStarved(): Chain | undefined {
    return this.#lastStarved?.starved === true ? this.#lastStarved : undefined;
  }

  rewind(chain: Chain): void {
    this.#chains[chain.head]!.start();
  }

  close(): void {
    this.#closed = true;
    for (const chain of this.#chains) if (chain?.inFlight) chain.end();
    this.#inFlight = 0;
    this.#segmentsInFlight = 0;
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

  /** The next head. */
  #readAvail(): number {
    const slot = VIRTQ_AVAIL.ring + 2 * (this.#nextAvail & this.#mask);
    const words = this.#availWords;
    return words === undefined ? this.#avail.read16(slot) : (words[slot >> 2]! >>> (8 * (slot & 2))) & 0xffff;
  }

  #writeUsed(head: number, written: number): void {
    const slot = VIRTQ_USED.ring + VIRTQ_USED_ELEM_SIZE * (this.#nextUsed & this.#mask);
    const words = this.#usedWords;
    if (words !== undefined) {
      words[(slot + VIRTQ_USED_ELEM.id) >> 2] = head;
      words[(slot + VIRTQ_USED_ELEM.len) >> 2] = written;
    } else {
      this.#used.write32(slot + VIRTQ_USED_ELEM.id, head);
      this.#used.write32(slot + VIRTQ_USED_ELEM.len, written);
    }
  }

  /** Whether the rings may be touched; takes their views anew when guest memory changed. */
  #usable(): boolean {
    if (this.#closed || this.#broken !== undefined || this.#suspended !== undefined) return false;
    if (this.#generation === this.#memory.generation) return true;
    try {
      this.#takeViews();
      return true;
    } catch (error) {
      if (!(error instanceof VirtqueueError)) throw error;
      this.#broken = error;
      return false;
    }
  }

  #takeViews(): void {
    const { size, descriptorArea, driverArea, deviceArea } = this.#options;
    this.#table = this.#area('descriptor', descriptorArea, descriptorAreaSize(size));
    this.#avail = this.#area('driver', driverArea, driverAreaSize(size));
    this.#used = this.#area('device', deviceArea, deviceAreaSize(size));
    this.#availWords = this.#avail.words;
    this.#usedWords = this.#used.words;
    this.#generation = this.#memory.generation;
  }

  #area(name: keyof typeof AREA_ALIGNMENT, address: GuestAddress, length: number): MemoryView {
    const alignment = AREA_ALIGNMENT[name];
    try {
      const view = this.#memory.view(address, length);
      if (address % alignment !== 0) throw new RangeError('address');
      // A region can itself begin at an odd place: then no atomic access can be had of it, wherever the area lies.
      view.load16(0);
      return view;
    } catch (error) {
      if (isSuspension(error)) throw error;
      if (error instanceof MemoryError) {
        throw new VirtqueueError('AREA_UNMAPPED', '2.7', `${name} area: ${error.message}`);
      }
      if (!(error instanceof RangeError)) throw error;
      const text = `${name} area 0x${address.toString(16)} is not aligned to ${alignment} bytes`;
      throw new VirtqueueError('AREA_ALIGNMENT', '2.7', text);
    }
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
    if (ahead > this.size - taken) {
      const text = `available index ${idx} is ${ahead} ahead of ${this.#nextAvail}, with ${taken} of ${this.size} not handed back`;
      this.#fail('AVAIL_INDEX', '2.7.6', text);
    }
    this.#availIdx = idx;
    return true;
  }

  /** The chain object of a head that the driver named. */
  #chainOf(head: number): SplitChain {
    if (head >= this.size) {
      this.#fail('HEAD_INDEX', '2.7.6', `head index ${head} is not below the queue size ${this.size}`);
    }
    let chain = this.#chains[head];
    if (chain === undefined) {
      chain = new SplitChain(this.#memory, head);
      this.#chains[head] = chain;
    } else if (chain.inFlight) {
      const text = `head index ${head} was made available again before it was used`;
      this.#fail('HEAD_IN_FLIGHT', '2.7.13.1', text);
    }
    return chain;
  }

  /** Breaks the queue: every later `pop` throws the same error. */
  #fail(code: string, section: string, text: string): never {
    this.#broken = new VirtqueueError(code, section, text);
    throw this.#broken;
  }
}
