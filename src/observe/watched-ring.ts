import type { Chain } from '../virtqueue/chain.js';
import type { DeviceQueueOptions } from '../virtqueue/device-queue-options.js';
import { HeldChain } from '../virtqueue/held-chain.js';
import type { Virtqueue } from '../virtqueue/virtqueue.js';
import { type Availability, availabilityOf } from './availability.js';
import type { SeenDescriptor } from './event.js';
import { WatchedChain } from './watched-chain.js';

/** Who hears of what happens on a ring. */
export interface RingEvents {
  /** ns. */
  now(): number;
  /** Bytes to keep of each chain, each way; 0 while nobody listens. */
  readonly bytes: number;
  available(count: number, asked: boolean): void;
  taken(chain: WatchedChain, bytes: Uint8Array, descriptors: readonly SeenDescriptor[]): void;
  used(chain: WatchedChain): void;
  /** Something was shown to the driver, which wants no interrupt for it. */
  suppressed(): void;
}

/** Bytes that are kept of all chains that the device holds: of more it is told without. */
const KEPT_MOST = 64 << 20;
/** Descriptors that are told of, of one chain. */
const DESCRIPTORS = 64;
const NOTHING: Uint8Array = new Uint8Array();

/** A ring between a device's runner and the one that is served: it is the same ring to the runner, and says what happens on it. */
export class WatchedRing implements Virtqueue {
  readonly size: number;
  readonly #ring: Virtqueue;
  readonly #events: RingEvents;
  /** None where the ring can't be looked at: then chains are available when they are taken. */
  readonly #availability: Availability | undefined;
  readonly #chains: (WatchedChain | undefined)[] = [];
  /** Chains that were taken, and how many of those that were made available were not. */
  #count = 0;
  #ahead = 0;
  #asked = true;
  #pushed = 0;
  /** Bytes of chains in flight. */
  #kept = 0;

  /** @param queue - where the ring lies. */
  constructor(ring: Virtqueue, queue: DeviceQueueOptions, packed: boolean, events: RingEvents) {
    this.size = ring.size;
    this.#ring = ring;
    this.#events = events;
    this.#availability = ring.remote ? undefined : availabilityOf(queue, packed);
  }

  get inFlight(): number {
    return this.#ring.inFlight;
  }

  get base(): number {
    return this.#ring.base;
  }

  get waiting(): boolean {
    return this.#ring.waiting;
  }

  get remote(): boolean {
    return this.#ring.remote;
  }

  get reachable(): boolean {
    return this.#ring.reachable;
  }

  /** Looks whether there are more chains. */
  look(): void {
    const count = this.#availability?.look() ?? 0;
    if (count === 0) return;
    this.#ahead += count;
    this.#events.available(count, this.#asked);
  }

  pop(): Chain | undefined {
    this.look();
    const inner = this.#ring.pop();
    if (inner === undefined) return undefined;
    let chain = this.#chains[inner.head];
    if (chain === undefined) {
      chain = new WatchedChain(inner);
      this.#chains[inner.head] = chain;
    }
    this.#count += 1;
    if (this.#ahead > 0) this.#ahead -= 1;
    else this.#events.available(1, this.#asked);
    this.#begin(chain, inner);
    return chain;
  }

  serialOf(head: number): number | undefined {
    return this.#ring.serialOf?.(head);
  }

  isOut(head: number, serial: number): boolean {
    return this.#ring.isOut?.(head, serial) === true;
  }

  owns(chain: Chain): boolean {
    return this.#chains[chain.head] === chain && this.#ring.owns((chain as WatchedChain).inner);
  }

  push(chain: Chain): void {
    const watched = chain as WatchedChain;
    this.#ring.push(watched.inner);
    this.#pushed += 1;
    this.#events.used(watched);
    this.#kept -= watched.kept;
    watched.end();
  }

  publish(): boolean {
    const wanted = this.#ring.publish();
    if (!wanted && this.#pushed > 0 && !this.#ring.remote) this.#events.suppressed();
    this.#pushed = 0;
    return wanted;
  }

  disableKicks(): void {
    this.#asked = false;
    this.#ring.disableKicks();
  }

  enableKicks(): boolean {
    const more = this.#ring.enableKicks();
    // What came before that came without.
    if (more) this.look();
    this.#asked = true;
    return more;
  }

  suspend(): void {
    this.#ring.suspend();
  }

  resume(): void {
    this.#ring.resume();
  }

  isStarved(chain: Chain): boolean {
    return this.#ring.isStarved((chain as WatchedChain).inner);
  }

  get lastStarved(): Chain | undefined {
    const inner = this.#ring.lastStarved;
    return inner === undefined ? undefined : this.#chains[inner.head];
  }

  rewind(chain: Chain): void {
    const watched = chain as WatchedChain;
    watched.rewind();
    this.#ring.rewind(watched.inner);
  }

  close(): void {
    this.#ring.close();
  }

  #begin(chain: WatchedChain, inner: Chain): void {
    const bytes = Math.min(this.#events.bytes, KEPT_MOST - this.#kept);
    const read = bytes > 0 && inner.readable > 0 ? this.#readAhead(inner, bytes) : NOTHING;
    chain.begin(inner, this.#count, this.#events.now(), bytes, read);
    this.#kept += chain.kept;
    this.#events.taken(chain, read, inner instanceof HeldChain ? descriptorsOf(inner) : []);
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

function descriptorsOf(chain: HeldChain): SeenDescriptor[] {
  const descriptors: SeenDescriptor[] = [];
  const count = Math.min(chain.segments, DESCRIPTORS);
  let before = 0;
  for (let i = 0; i < count; i++) {
    const length = chain.lengths[i]!;
    descriptors.push({ address: chain.addresses[i]!, length, writable: before >= chain.readable });
    before += length;
  }
  return descriptors;
}
