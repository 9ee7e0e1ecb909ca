import type { Chain } from '../virtqueue/chain.js';
import type { DeviceQueueOptions } from '../virtqueue/device-queue-options.js';
import { HeldChain } from '../virtqueue/held-chain.js';
import type { Virtqueue } from '../virtqueue/virtqueue.js';
import { VirtqueueError } from '../virtqueue/virtqueue-error.js';
import { type Availability, availabilityOf } from './availability.js';
import { descriptorsOf } from './descriptors-of.js';
import type { SeenDescriptor } from './event.js';
import { Gate } from './gate.js';
import { type NextChain, nextChain } from './next-chain.js';
import { copyRing, lookOf, type RingCopy, type RingLook } from './ring-look.js';
import type { HeldHead, RingCounts, RingWatch, StopAt, Unseen } from './ring-watch.js';
import { WatchedChain } from './watched-chain.js';

/** A chain that is told of. */
export interface ToldChain {
  readonly number: number;
  readonly head: number;
  readonly readable: number;
  readonly writable: number;
  readonly consumed: number;
  readonly written: number;
  /** When it was taken, ns. */
  readonly taken: number;
  /** The first of the bytes that were written into it. */
  readonly answer: Uint8Array;
}

/** One that the device has, as it is: who hears of few chains is told without anything between the device and these. */
interface Mark {
  readonly chain: Chain;
  readonly number: number;
  readonly taken: number;
}

/** Who hears of what happens on a ring. */
export interface RingEvents {
  readonly connection: number;
  readonly queue: number;
  /** ns. */
  now(): number;
  /** Bytes to keep of each chain, each way; 0 while nobody listens. */
  readonly bytes: number;
  /** Whether somebody hears of each chain, unasked. */
  readonly everything: boolean;
  available(count: number, asked: boolean): void;
  taken(chain: ToldChain, bytes: Uint8Array, descriptors: readonly SeenDescriptor[]): void;
  used(chain: ToldChain): void;
  /** Something was shown to the driver, which wants no interrupt for it. */
  suppressed(): void;
  /** The device is to look: there may be something for it, and no kick comes. */
  wake(): void;
}

/** Bytes that are kept of all chains that the device holds: of more it is told without. */
const KEPT_MOST = 64 << 20;
const NOTHING: Uint8Array = new Uint8Array();

/**
 * A ring between a device's runner and the one that is served: it is the same ring to the runner, and says what happens on it. While nobody wants to hear
 * of each chain, it hands on those of the served ring and counts them.
 */
export class WatchedRing implements Virtqueue, RingWatch {
  readonly size: number;
  readonly packed: boolean;
  readonly connection: number;
  readonly queue: number;
  readonly #ring: Virtqueue;
  readonly #options: DeviceQueueOptions;
  readonly #events: RingEvents;
  /** None where the ring can't be looked at: then chains are available when they are taken. */
  readonly #availability: Availability | undefined;
  readonly #gate = new Gate();
  /** For who hears of each chain, by head. */
  readonly #chains: (WatchedChain | undefined)[] = [];
  /** For who hears of few. */
  readonly #marks = new Map<number, Mark>();
  readonly #counts = { taken: 0, used: 0, kicks: 0, interrupts: 0, suppressed: 0, unkicked: 0 };
  readonly #waits = (): boolean => this.#ring.waiting;
  /** There is more to do with the next chain than to count it. */
  #closely = false;
  /** There is more to do with some chain that the device has. */
  #mixed = false;
  /** Chains that are still to be told of. */
  #shown = 0;
  /** Chains that were taken when the last one was told of. */
  #seen = 0;
  /** Of those that were told to be available, how many were not taken. */
  #ahead = 0;
  #asked = true;
  /** One that was told of was handed back, and not what came of it. */
  #tail = false;
  /** Chains that were handed back when that was last shown to the driver, and kicks. */
  #published = 0;
  #kicksBefore = 0;
  /** Bytes of chains in flight. */
  #kept = 0;
  #closed = false;

  /** @param options - where the ring lies. */
  constructor(ring: Virtqueue, options: DeviceQueueOptions, packed: boolean, events: RingEvents) {
    this.size = ring.size;
    this.packed = packed;
    this.connection = events.connection;
    this.queue = events.queue;
    this.#ring = ring;
    this.#options = options;
    this.#events = events;
    this.#availability = ring.remote ? undefined : availabilityOf(options, packed);
    this.settle();
  }

  get inFlight(): number {
    return this.#ring.inFlight;
  }

  get base(): number {
    return this.#ring.base;
  }

  get waiting(): boolean {
    return !this.#gate.shut && this.#ring.waiting;
  }

  get remote(): boolean {
    return this.#ring.remote;
  }

  get reachable(): boolean {
    return this.#ring.reachable;
  }

  pop(): Chain | undefined {
    if (this.#closely) return this.#popClosely();
    const chain = this.#ring.pop();
    if (chain !== undefined) this.#counts.taken += 1;
    return chain;
  }

  serialOf(head: number): number | undefined {
    return this.#ring.serialOf?.(head);
  }

  isOut(head: number, serial: number): boolean | undefined {
    return this.#ring.isOut === undefined ? false : this.#ring.isOut(head, serial);
  }

  owns(chain: Chain): boolean {
    return this.#mixed ? this.#ownsEither(chain) : this.#ring.owns(chain);
  }

  push(chain: Chain): void {
    if (this.#mixed) {
      this.#pushEither(chain);
      return;
    }
    this.#ring.push(chain);
    this.#counts.used += 1;
  }

  publish(): boolean {
    const wanted = this.#ring.publish();
    if (this.#counts.used !== this.#published) this.#showed(wanted);
    return wanted;
  }

  disableKicks(): void {
    this.#asked = false;
    this.#ring.disableKicks();
  }

  enableKicks(): boolean {
    const more = this.#ring.enableKicks();
    // What came before that came without.
    if (more && this.#closely) this.seek();
    this.#asked = true;
    // Whoever opens the gate has the device look.
    return more && !this.#gate.shut;
  }

  suspend(): void {
    this.#ring.suspend();
  }

  resume(): void {
    this.#ring.resume();
  }

  isStarved(chain: Chain): boolean {
    return this.#ring.isStarved(innerOf(chain));
  }

  get lastStarved(): Chain | undefined {
    const inner = this.#ring.lastStarved;
    if (inner === undefined) return undefined;
    const watched = this.#chains[inner.head];
    return watched?.inner === inner && watched.active ? watched : inner;
  }

  rewind(chain: Chain): void {
    if (chain instanceof WatchedChain) chain.rewind();
    this.#ring.rewind(innerOf(chain));
  }

  close(): void {
    this.#closed = true;
    this.#ring.close();
  }

  get counts(): RingCounts {
    return this.#counts;
  }

  get held(): boolean {
    return this.#gate.held;
  }

  get failure(): VirtqueueError | undefined {
    return this.#gate.failure;
  }

  get stopAt(): StopAt | undefined {
    return this.#gate.stopAt;
  }

  set stopAt(stop: StopAt | undefined) {
    this.#gate.stopAt = stop;
    this.settle();
  }

  get stopBroken(): ((error: VirtqueueError) => boolean) | undefined {
    return this.#gate.stopBroken;
  }

  set stopBroken(stop: ((error: VirtqueueError) => boolean) | undefined) {
    this.#gate.stopBroken = stop;
    this.settle();
  }

  get available(): number {
    if (this.#closed || this.#availability === undefined) return 0;
    return availabilityOf({ ...this.#options, base: this.#ring.base }, this.packed).look();
  }

  show(chains: number): Unseen | undefined {
    const open = this.#shown > 0;
    this.#shown = chains;
    this.settle();
    if (open || chains === 0 || this.#events.everything) return undefined;
    this.#availability?.seek(this.#ring.base);
    const waiting = this.#availability?.look() ?? 0;
    this.#ahead = waiting;
    const taken = this.#counts.taken - this.#seen;
    this.#seen = this.#counts.taken;
    return { taken, waiting };
  }

  look(most: number): RingLook | undefined {
    const copy = this.copy(most);
    return copy && lookOf(copy);
  }

  copy(most: number): RingCopy | undefined {
    if (this.remote || this.#closed) return undefined;
    return copyRing(this.#options, this.packed, this.#ring.base, most);
  }

  heads(most: number): HeldHead[] {
    const heads: HeldHead[] = [];
    const all = Math.min(this.#ring.inFlight, most);
    for (let head = 0; head < this.size && heads.length < all; head++) {
      const watched = this.#chains[head];
      const told = watched?.active === true ? watched : this.#marks.get(head);
      if (told !== undefined) heads.push({ head, chain: told.number, taken: told.taken });
      else if (this.#ring.isHeld?.(head) === true) heads.push({ head });
    }
    return heads.sort((a, b) => (a.taken ?? 0) - (b.taken ?? 0));
  }

  next(bytes: number): NextChain | undefined {
    if (this.remote || this.#closed || (this.#ring.pending ?? 0) > 0) return undefined;
    return nextChain(this.#options, this.packed, this.#ring.base, bytes);
  }

  hold(): void {
    this.#gate.hold();
    this.settle();
  }

  step(chains: number): void {
    this.#gate.step(chains, this.#counts.taken);
    this.#wake();
  }

  release(ask = false): void {
    this.#gate.release(this.#counts.taken, ask);
    this.settle();
    this.#wake();
  }

  /** The driver kicked. @returns whether to tell of it. */
  kicked(): boolean {
    this.#counts.kicks += 1;
    return this.#telling;
  }

  /** The driver was interrupted. @returns whether to tell of it. */
  interrupted(): boolean {
    this.#counts.interrupts += 1;
    const told = this.#telling || this.#tail;
    this.#tail = false;
    return told;
  }

  /** Looks whether there are more chains, for whoever hears of them. */
  seek(): void {
    const count = this.#telling ? (this.#availability?.look() ?? 0) : 0;
    if (count === 0) return;
    this.#ahead += count;
    this.#events.available(count, this.#asked);
  }

  /** What is wanted has changed. */
  settle(): void {
    this.#closely = this.#gate.closely || this.#telling;
  }

  /** Whether the next chain is told of. */
  get #telling(): boolean {
    return this.#shown > 0 || this.#events.everything;
  }

  #wake(): void {
    if (!this.#closed) this.#events.wake();
  }

  #popClosely(): Chain | undefined {
    if (!this.#gate.opens(this.#counts.taken, this.#waits)) return undefined;
    const telling = this.#telling;
    if (telling) this.seek();
    const inner = this.#take();
    if (inner === undefined) return undefined;
    this.#counts.taken += 1;
    this.#gate.passed();
    if (!telling) return inner;
    this.#seen = this.#counts.taken;
    if (this.#shown > 0) {
      this.#shown -= 1;
      this.settle();
    }
    if (this.#ahead > 0) this.#ahead -= 1;
    else this.#events.available(1, this.#asked);
    return this.#events.everything ? this.#begin(inner) : this.#mark(inner);
  }

  #ownsEither(chain: Chain): boolean {
    if (!(chain instanceof WatchedChain)) return this.#ring.owns(chain);
    return this.#chains[chain.head] === chain && this.#ring.owns(chain.inner);
  }

  #pushEither(chain: Chain): void {
    if (chain instanceof WatchedChain) {
      this.#pushWatched(chain);
      return;
    }
    this.#pushMarked(chain);
    this.#counts.used += 1;
  }

  #take(): Chain | undefined {
    try {
      return this.#ring.pop();
    } catch (error) {
      const hidden = error instanceof VirtqueueError && this.#gate.hides(error);
      this.settle();
      if (!hidden) throw error;
      return undefined;
    }
  }

  #begin(inner: Chain): Chain {
    this.#mixed = true;
    let chain = this.#chains[inner.head];
    if (chain === undefined) {
      chain = new WatchedChain(inner);
      this.#chains[inner.head] = chain;
    }
    const bytes = Math.min(this.#events.bytes, KEPT_MOST - this.#kept);
    const read = bytes > 0 && inner.readable > 0 ? this.#readAhead(inner, bytes) : NOTHING;
    chain.begin(inner, this.#counts.taken, this.#events.now(), bytes, read);
    this.#kept += chain.kept;
    this.#events.taken(chain, read, inner instanceof HeldChain ? descriptorsOf(inner) : []);
    return chain;
  }

  /** Tells of it, and leaves it as it is. */
  #mark(chain: Chain): Chain {
    const { head, readable, writable } = chain;
    const { bytes } = this.#events;
    const read = bytes > 0 && readable > 0 ? this.#readAhead(chain, bytes) : NOTHING;
    const number = this.#counts.taken;
    const taken = this.#events.now();
    this.#marks.set(head, { chain, number, taken });
    this.#mixed = true;
    const told = { number, head, readable, writable, consumed: 0, written: 0, taken, answer: NOTHING };
    this.#events.taken(told, read, chain instanceof HeldChain ? descriptorsOf(chain) : []);
    return chain;
  }

  /** Maybe one that was told of. */
  #pushMarked(chain: Chain): void {
    const mark = this.#marks.get(chain.head);
    if (mark?.chain !== chain) {
      this.#ring.push(chain);
      return;
    }
    const { number, taken } = mark;
    const { head, readable, writable, consumed, written } = chain;
    const answer = this.#readBack(chain);
    this.#ring.push(chain);
    this.#marks.delete(head);
    // Those that were told of one by one may be with the device for ever.
    this.#mixed = this.#marks.size > 0 || this.#chains.length > 0;
    this.#tail = true;
    this.#events.used({ number, head, readable, writable, consumed, written, taken, answer });
  }

  #pushWatched(chain: WatchedChain): void {
    // Its ring may have given out this head since, by itself.
    if (!chain.active) throw new TypeError(`chain ${chain.head} is not in flight on this queue`);
    this.#ring.push(chain.inner);
    this.#counts.used += 1;
    this.#tail = true;
    this.#events.used(chain);
    this.#kept -= chain.kept;
    chain.end();
  }

  #showed(wanted: boolean): void {
    const { used, kicks } = this.#counts;
    this.#published = used;
    if (kicks === this.#kicksBefore) this.#counts.unkicked += 1;
    this.#kicksBefore = kicks;
    if (wanted || this.#ring.remote) return;
    this.#counts.suppressed += 1;
    if (this.#telling || this.#tail) this.#events.suppressed();
    this.#tail = false;
  }

  /** What the device wrote, as it lies in memory. */
  #readBack(chain: Chain): Uint8Array {
    const { bytes } = this.#events;
    if (bytes === 0 || chain.written === 0 || !(chain instanceof HeldChain)) return NOTHING;
    try {
      return chain.writtenBytes(bytes);
    } catch {
      return NOTHING;
    }
  }

  /** What the device will read, once for both. Where that can't be done, the device finds out by itself. */
  #readAhead(inner: Chain, most: number): Uint8Array {
    const read = new Uint8Array(Math.min(inner.readable, most));
    try {
      inner.read(read);
      return read;
    } catch {
      return NOTHING;
    } finally {
      this.#ring.rewind(inner);
    }
  }
}

function innerOf(chain: Chain): Chain {
  return chain instanceof WatchedChain ? chain.inner : chain;
}
