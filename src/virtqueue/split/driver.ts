import type { GuestAddress } from '../../memory/address.js';
import type { GuestAllocator, GuestBuffer } from '../../memory/guest-allocator.js';
import type { MemoryView } from '../../memory/memory-view.js';
import { bytesIn } from '../bytes-in.js';
import type { DriverQueue, DriverQueueOptions, UsedChain } from '../driver-queue.js';
import { passesEvent } from '../event-index.js';
import { makeAreas } from '../ring-areas.js';
import { SentChains } from '../sent-chains.js';
import { VirtqueueError } from '../virtqueue-error.js';
import { placeBuffers, writeDescriptor } from './descriptors.js';
import {
  availEventOffset,
  descriptorAreaSize,
  deviceAreaSize,
  driverAreaSize,
  isQueueSize,
  usedEventOffset,
  VIRTQ_AVAIL,
  VIRTQ_AVAIL_F_NO_INTERRUPT,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_SIZE,
  VIRTQ_USED,
  VIRTQ_USED_ELEM,
  VIRTQ_USED_ELEM_SIZE,
  VIRTQ_USED_F_NO_NOTIFY,
} from './layout.js';

/** Descriptors of the indirect table that each head has; longer chains take descriptors of the ring. */
const INDIRECT_ENTRIES = 16;

/**
 * The driver's end of a split virtqueue (VIRTIO 1.3 §2.7). The device may be hostile: what it can change is never relied
 * on, so chains and free descriptors are kept in arrays of our own.
 *
 * Its areas (`descriptorArea`, ...) are what the transport tells the device. With VIRTIO_F_EVENT_IDX a device interrupts
 * only past the last `enableInterrupts`, so call it after each time that `reap` found nothing more.
 *
 * @typeParam Token - what the caller wants back when a chain was used.
 */
export class SplitDriverQueue<Token> implements DriverQueue<Token> {
  readonly size: number;
  readonly descriptorArea: GuestAddress;
  readonly driverArea: GuestAddress;
  readonly deviceArea: GuestAddress;
  readonly base: number;
  readonly #allocator: GuestAllocator;
  readonly #areas: readonly GuestBuffer[];
  readonly #mask: number;
  readonly #eventIdx: boolean;
  readonly #usedEvent: number;
  readonly #availEvent: number;

  readonly #table: MemoryView;
  readonly #avail: MemoryView;
  readonly #used: MemoryView;
  /** An indirect table for each head, one after the other, or `undefined`. */
  readonly #indirect: MemoryView | undefined;
  readonly #indirectAddress: number;

  /** By descriptor: the next one of its chain, or of the free ones. */
  readonly #next: Uint16Array;
  #firstFree = 0;
  #free: number;
  /** By head: how many descriptors of the ring the chain has, and the last of them. */
  readonly #count: Uint16Array;
  readonly #last: Uint16Array;
  readonly #sent: SentChains<Token>;
  #nextAvail: number;
  #publishedAvail: number;
  /** The used index as last read. */
  #usedIdx: number;
  #nextUsed: number;
  #detached = false;
  #broken: VirtqueueError | undefined;

  /** @throws RangeError for a size or base that can't be, or when the allocator has no room. */
  constructor(options: DriverQueueOptions) {
    const { memory, allocator, size, base = 0 } = options;
    if (!isQueueSize(size)) throw new RangeError(`queue size ${size} is no power of two in 1..32768`);
    if (!(Number.isInteger(base) && base >= 0 && base <= 0xffff)) {
      throw new RangeError(`index ${base} is not in 0..65535`);
    }
    this.size = size;
    this.base = base;
    this.#allocator = allocator;
    this.#mask = size - 1;
    this.#eventIdx = options.eventIdx;
    this.#usedEvent = usedEventOffset(size);
    this.#availEvent = availEventOffset(size);

    const tables = options.indirect ? [size * INDIRECT_ENTRIES * VIRTQ_DESC_SIZE] : [];
    const lengths = [descriptorAreaSize(size), driverAreaSize(size), deviceAreaSize(size), ...tables];
    this.#areas = makeAreas(memory, allocator, lengths);
    const [descriptors, driver, device, indirect] = this.#areas;
    const view = (area: GuestBuffer): MemoryView => memory.view(area.address, area.length);
    this.descriptorArea = descriptors!.address;
    this.driverArea = driver!.address;
    this.deviceArea = device!.address;
    this.#table = view(descriptors!);
    this.#avail = view(driver!);
    this.#used = view(device!);
    this.#indirect = indirect && view(indirect);
    this.#indirectAddress = indirect?.address ?? 0;

    this.#next = Uint16Array.from({ length: size }, (_, i) => i + 1);
    this.#free = size;
    this.#count = new Uint16Array(size);
    this.#last = new Uint16Array(size);
    this.#sent = new SentChains(size, options.inOrder === true, '2.7.8');

    this.#nextAvail = base;
    this.#publishedAvail = base;
    this.#usedIdx = base;
    this.#nextUsed = base;
    this.#avail.write16(VIRTQ_AVAIL.idx, base);
    this.#avail.write16(this.#usedEvent, base);
    this.#used.write16(VIRTQ_USED.idx, base);
    this.#used.write16(this.#availEvent, base);
  }

  /** Chains that were added and not reaped yet. */
  get inFlight(): number {
    return this.#sent.inFlight;
  }

  /** Descriptors that are free. */
  get free(): number {
    return this.#free;
  }

  get nextPlace(): number {
    return this.#nextAvail;
  }

  /**
   * Adds a chain: a request to read, room for a response, or both. The device sees it after the next `publish`. The
   * buffers are the device's until the chain is reaped; the two arrays stay the caller's.
   *
   * @param readable - what the device reads, in this order.
   * @param writable - what it may write, in this order, after those.
   * @returns `false` when too few descriptors are free: nothing was added, try again after `reap`.
   * @throws RangeError for a chain that can't be: no buffer, an empty one, more buffers than the queue has descriptors
   * (§2.7.5.3.1), or 2^32 bytes and more.
   * @throws VirtqueueError when the device broke the queue before.
   */
  add(readable: readonly GuestBuffer[], writable: readonly GuestBuffer[], token: Token): boolean {
    this.#checkOpen();
    const count = readable.length + writable.length;
    if (count === 0 || count > this.size) {
      throw new RangeError(`a chain has 1 to ${this.size} buffers here, not ${count}`);
    }
    const room = bytesIn(writable);
    if (bytesIn(readable) + room > 0xffff_ffff) throw new RangeError('a chain has less than 2^32 bytes');

    const indirect = this.#indirect !== undefined && count > 1 && count <= INDIRECT_ENTRIES;
    const needed = indirect ? 1 : count;
    if (needed > this.#free) return false;
    const head = this.#firstFree;
    if (indirect) {
      const first = head * INDIRECT_ENTRIES;
      placeBuffers(this.#indirect!, first, 0, undefined, readable, writable);
      const table = this.#indirectAddress + VIRTQ_DESC_SIZE * first;
      writeDescriptor(this.#table, head, table, VIRTQ_DESC_SIZE * count, VIRTQ_DESC_F_INDIRECT, 0);
      this.#last[head] = head;
    } else {
      this.#last[head] = placeBuffers(this.#table, 0, head, this.#next, readable, writable);
    }
    this.#firstFree = this.#next[this.#last[head]!]!;
    this.#free -= needed;
    this.#count[head] = needed;
    this.#sent.add(head, room, token);

    this.#avail.write16(VIRTQ_AVAIL.ring + 2 * (this.#nextAvail & this.#mask), head);
    this.#nextAvail = (this.#nextAvail + 1) & 0xffff;
    return true;
  }

  /**
   * Shows the device all that was added since the last call.
   *
   * @returns whether the device wants a kick for it (§2.7.10); `false` when nothing was added.
   */
  publish(): boolean {
    if (this.#nextAvail === this.#publishedAvail || this.#stopped) return false;
    const before = this.#publishedAvail;
    this.#publishedAvail = this.#nextAvail;
    this.#sent.publish();
    // Sequentially consistent, both: descriptors and entries are there before the index (§2.7.13.3.1), and the device's
    // wish is read after it (§2.7.13.4.1).
    this.#avail.store16(VIRTQ_AVAIL.idx, this.#publishedAvail);
    if (!this.#eventIdx) return (this.#used.load16(VIRTQ_USED.flags) & VIRTQ_USED_F_NO_NOTIFY) === 0;
    return passesEvent(this.#used.load16(this.#availEvent), before, this.#publishedAvail);
  }

  /**
   * Takes the next chain that the device is done with; its buffers are the caller's again.
   *
   * @throws VirtqueueError `USED_INDEX`, `USED_ID` or `USED_LEN` when the device broke a rule. Every later call throws
   * the same; `detach` gets the tokens back.
   */
  reap(): UsedChain<Token> | undefined {
    if (this.#stopped) {
      if (this.#broken !== undefined) throw this.#broken;
      return undefined;
    }
    const sent = this.#sent;
    if (sent.next < 0 && !this.#look()) return undefined;
    const { next: head, written } = sent;
    this.#nextUsed = (this.#nextUsed + 1) & 0xffff;
    this.#next[this.#last[head]!] = this.#firstFree;
    this.#firstFree = head;
    this.#free += this.#count[head]!;
    return { token: sent.take(), written };
  }

  /** Tells the device that interrupts are not needed for now (a hint: §2.7.7). */
  disableInterrupts(): void {
    if (this.#stopped) return;
    // As far away as an event can be: the entry just passed.
    if (this.#eventIdx) this.#avail.write16(this.#usedEvent, (this.#nextUsed - 1) & 0xffff);
    else this.#avail.write16(VIRTQ_AVAIL.flags, VIRTQ_AVAIL_F_NO_INTERRUPT);
  }

  /**
   * Asks for an interrupt with the next chain that is used.
   *
   * @returns `true` when there are some already (or the queue is broken): the caller must reap again, no interrupt will
   * come for them.
   */
  enableInterrupts(): boolean {
    if (this.#stopped) return this.#broken !== undefined;
    if (this.#sent.next >= 0) return true;
    if (this.#eventIdx) this.#avail.store16(this.#usedEvent, this.#nextUsed);
    else this.#avail.store16(VIRTQ_AVAIL.flags, 0);
    // After the store: a device that did not see it yet has its index up already (§2.7.14).
    return this.#used.load16(VIRTQ_USED.idx) !== this.#nextUsed;
  }

  /**
   * Ends this queue and frees its areas. Only when the device can't touch them any more: it was reset, or is gone.
   *
   * @returns the tokens of all chains that were in flight, in the order in which they were added.
   */
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

  #checkOpen(): void {
    if (this.#broken !== undefined) throw this.#broken;
    if (this.#detached) throw new TypeError('this queue was detached');
  }

  /** Whether the device used something: it is the next of `#sent` then. */
  #look(): boolean {
    if (this.#usedIdx === this.#nextUsed && !this.#moreUsed()) return false;
    const slot = VIRTQ_USED.ring + VIRTQ_USED_ELEM_SIZE * (this.#nextUsed & this.#mask);
    const head = this.#used.read32(slot + VIRTQ_USED_ELEM.id);
    const written = this.#used.read32(slot + VIRTQ_USED_ELEM.len);
    try {
      this.#sent.name(head, written);
    } catch (error) {
      if (error instanceof VirtqueueError) this.#broken = error;
      throw error;
    }
    // With IN_ORDER one element can stand for many, which the index counts.
    const ahead = (this.#usedIdx - this.#nextUsed) & 0xffff;
    if (this.#sent.named > ahead) {
      const text = `used id ${head} is the last of ${this.#sent.named} chains, and the used index counts ${ahead}`;
      this.#fail('USED_INDEX', text);
    }
    return true;
  }

  #moreUsed(): boolean {
    const idx = this.#used.load16(VIRTQ_USED.idx);
    const ahead = (idx - this.#nextUsed) & 0xffff;
    if (ahead === 0) return false;
    const most = this.#sent.withDevice;
    if (ahead > most) {
      this.#fail(
        'USED_INDEX',
        `used index ${idx} is ${ahead} ahead of ${this.#nextUsed} with ${most} chains in flight`,
      );
    }
    this.#usedIdx = idx;
    return true;
  }

  /** Breaks the queue: every later `reap` throws the same error. */
  #fail(code: string, text: string): never {
    this.#broken = new VirtqueueError(code, '2.7.8', text);
    throw this.#broken;
  }
}
