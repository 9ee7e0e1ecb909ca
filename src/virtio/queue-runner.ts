import { isSuspension } from '../memory/memory-error.js';
import type { Chain } from '../virtqueue/chain.js';
import type { Virtqueue } from '../virtqueue/virtqueue.js';
import { Astray } from './astray.js';

/** Most chains that a device pops in one turn, so that a driver that never stops can't keep the process to itself. */
const POPPED_MOST = 1024;

/** What a queue tells whoever runs its device. */
export interface QueueEvents {
  /** The driver is to be interrupted. */
  interrupt(index: number): void;
  /** The driver broke a rule; the queue is empty from now on. */
  broken(index: number, error: unknown): void;
  /** The queue that the device took a chain of last; kept by the queues. */
  serving: QueueRunner | undefined;
  /** Chains are to be served anew: the device should look. */
  again(index: number): void;
  /** Whether the device has had this turn of the event loop for long enough. */
  late(): boolean;
  /** Chains of a replaced device are all back, or gone. */
  released(): void;
}

/** How many chains a device takes between two looks at the clock. */
const LATE_EVERY = 32;
/** What is left of that before the first: most turns end sooner, and a look costs as much as a small request. */
const LATE_FIRST = 24;

/** One queue, while its ring is started, stopped and replaced under it, and devices take each other's place over it. */
export class QueueRunner {
  readonly index: number;
  readonly #events: QueueEvents;
  #ring: Virtqueue | undefined;
  /** Of the ring before this one. */
  readonly astray: Astray = new Astray();
  /** The same while the device can be served from it. */
  #running: Virtqueue | undefined;
  #broken = false;
  #held = false;
  #open = false;
  #budget = 0;
  /** What was left of it when the device was called last. */
  #before = 0;
  #polled = false;
  #touched = false;
  /** The device's last `pop` found nothing: it would have taken more. */
  #hungry = false;
  #drained: (() => void) | undefined;

  /** Guest memory must not be touched, nor the driver interrupted. */
  #suspended = false;
  /** What was pushed meanwhile. */
  readonly #late: Chain[] = [];
  /** What can't be gone on with: popped once more, before what is new. */
  readonly #again: Chain[] = [];
  /** The driver may wait for an interrupt. */
  #owed = false;
  /** It was suspended since it was started, so that chains may be in either of these. */
  #upset = false;

  /** Which device takes chains now. */
  #taker = 0;
  /** By head: which device took that chain last. */
  #takers = new Uint32Array();
  /** Chains that replaced devices hold, by taker. */
  readonly #older = new Map<number, number>();

  constructor(index: number, events: QueueEvents) {
    this.index = index;
    this.#events = events;
  }

  /** Whether the device can be served from it. */
  get running(): boolean {
    return this.#running !== undefined;
  }

  get broken(): boolean {
    return this.#broken;
  }

  /** Where a later ring must start from; `undefined` when there is none. */
  get base(): number | undefined {
    return this.#ring?.base;
  }

  start(ring: Virtqueue): void {
    this.#ring = ring;
    this.#takers = new Uint32Array(ring.size);
    this.#broken = false;
    this.#held = false;
    this.#polled = false;
    this.#hungry = false;
    this.#upset = this.#suspended;
    if (this.#suspended) ring.suspend();
    this.#changed();
  }

  /** From now on another device takes chains. @param taker - its number. */
  handOver(taker: number): void {
    let held = this.#broken ? 0 : (this.#ring?.inFlight ?? 0);
    for (const older of this.#older.values()) held -= older;
    if (held > 0) this.#older.set(this.#taker, held);
    this.#taker = taker;
  }

  serialOf(chain: Chain): number | undefined {
    return this.#ring?.serialOf?.(chain.head);
  }

  isOut(head: number, serial: number): boolean | undefined {
    const ring = this.#ring;
    if (ring === undefined) return undefined;
    return ring.isOut === undefined ? false : ring.isOut(head, serial);
  }

  /** The device that takes chains now goes on with one that a replaced one took. */
  adopt(chain: Chain): void {
    if (this.#ring === undefined || !this.#ring.owns(chain)) return;
    const taker = this.#takers[chain.head]!;
    if (taker === this.#taker) return;
    this.#takers[chain.head] = this.#taker;
    this.#returned(taker);
  }

  /** The device that takes chains now. */
  get taker(): number {
    return this.#taker;
  }

  /** Whether it is this device's to hand this chain back. */
  isTakenBy(taker: number, chain: Chain): boolean {
    return this.#takers[chain.head] === taker;
  }

  /** Whether a replaced device still has chains to hand back. */
  isOwedBy(taker: number): boolean {
    return this.#older.has(taker);
  }

  /** Whether it is empty for the device, which can still hand back what it holds. */
  hold(held: boolean): void {
    this.#held = held;
    this.#changed();
  }

  /** Takes the ring away. @returns the base a later ring must start from. */
  stop(): number | undefined {
    this.flush();
    const base = this.#ring?.base;
    if (this.#ring !== undefined) this.astray.gone(this.#ring);
    this.#ring?.close();
    this.#ring = undefined;
    this.#changed();
    this.#broken = false;
    this.#drained = undefined;
    this.#late.length = 0;
    this.#again.length = 0;
    this.#owed = false;
    this.#forgetOlder();
    return base;
  }

  /** From now on guest memory is not touched, and the driver not interrupted. What the device holds it goes on with, and nothing is lost. */
  suspend(): void {
    this.#suspended = true;
    this.#upset = true;
    this.#changed();
    this.#ring?.suspend();
  }

  /**
   * Takes `suspend` back, if its memory can be reached again; what can't is asked for.
   *
   * @returns whether it goes on, or is over.
   */
  tryToResume(): boolean {
    try {
      if (this.#ring !== undefined && !this.#broken && !this.#ring.reachable) return false;
    } catch (error) {
      this.fail(error);
    }
    this.resume();
    return true;
  }

  /** Takes `suspend` back: writes, pushes and tells what came meanwhile. Call `kick` then. */
  resume(): void {
    this.#suspended = false;
    this.#changed();
    if (this.#ring === undefined || this.#broken) return;
    try {
      this.#ring.resume();
    } catch (error) {
      this.fail(error);
    }
    // Reaching the memory may be what leads to the next `suspend`.
    while (!this.#suspended && this.#late.length > 0) this.push(this.#late.shift()!);
    this.flush();
    if (!this.#suspended && this.#owed) {
      this.#owed = false;
      this.#events.interrupt(this.index);
    }
  }

  /** The device gave up on a chain because of `suspend`, and may not hand it back. */
  retry(): void {
    const chain = this.#ring?.lastStarved;
    if (chain === undefined || this.#again.includes(chain) || this.#late.includes(chain)) return;
    this.#again.push(chain);
    this.#events.again(this.index);
  }

  /** Calls back as soon as the device holds no chain: at once when it holds none. */
  whenDrained(done: () => void): void {
    if (this.#ring === undefined || this.#broken || this.#ring.inFlight === 0) done();
    else this.#drained = done;
  }

  pop(): Chain | undefined {
    const ring = this.#running;
    if (ring === undefined) return undefined;
    this.#touched = true;
    this.#hungry = true;
    if (
      this.#open &&
      (this.#budget === 0 || (this.#budget % LATE_EVERY === LATE_FIRST && this.#events.late()))
    ) {
      return undefined;
    }
    try {
      // Outside of a call into the device nobody settles after it, so an empty queue asks for kicks at once.
      const chain =
        (this.#upset ? this.#retried(ring) : undefined) ??
        ring.pop() ??
        (!this.#open && this.#askForKicks(ring) ? ring.pop() : undefined);
      if (chain !== undefined) {
        // Those of the first taker are zeros already.
        if (this.#taker !== 0) this.#takers[chain.head] = this.#taker;
        this.#budget -= 1;
        this.#hungry = false;
        if (this.#events.serving !== this) this.#events.serving = this;
      }
      return chain;
    } catch (error) {
      // Somebody will say when there is more to be had: nobody needs to look before.
      if (isSuspension(error)) this.#hungry = false;
      this.fail(error);
      return undefined;
    }
  }

  push(chain: Chain): void {
    const ring = this.#ring;
    if (ring === undefined || this.#broken || !ring.owns(chain)) {
      this.astray.came(chain);
      return;
    }
    if (this.#upset && this.#waits(ring, chain)) return;
    try {
      ring.push(chain);
    } catch (error) {
      if (isSuspension(error)) {
        this.#late.unshift(chain);
        return;
      }
      // Pushed twice: the device's own mistake, not the driver's.
      if (error instanceof TypeError) throw error;
      this.fail(error);
      return;
    }
    if (this.#older.size > 0) this.#returned(this.#takers[chain.head]!);
    if (this.#drained !== undefined && ring.inFlight === 0) {
      const done = this.#drained;
      this.#drained = undefined;
      this.flush();
      done();
    }
  }

  /** Whether a chain can't be pushed now: it is kept, or served anew. */
  #waits(ring: Virtqueue, chain: Chain): boolean {
    if (this.#again.includes(chain)) return true;
    if (this.#suspended) {
      if (this.#late.includes(chain)) throw new TypeError(`chain ${chain.head} was pushed twice`);
      this.#late.push(chain);
      return true;
    }
    if (!ring.isStarved(chain)) return false;
    this.#again.push(chain);
    this.#events.again(this.index);
    return true;
  }

  flush(): void {
    if (this.#ring === undefined || this.#broken || this.#suspended) return;
    try {
      if (this.#ring.publish()) this.#events.interrupt(this.index);
    } catch (error) {
      // Published or not: nobody knows what the driver wanted.
      if (isSuspension(error)) this.#owed = true;
      this.fail(error);
    }
  }

  /** Marks it broken: it stays empty until the next `start`. */
  fail(error: unknown): void {
    // Of which the driver will hear nothing: it is served later.
    if (this.#broken || isSuspension(error)) return;
    this.#broken = true;
    this.#changed();
    this.#events.broken(this.index, error);
    this.#forgetOlder();
    const done = this.#drained;
    this.#drained = undefined;
    done?.();
  }

  /** Before a call into the device: it may pop so many chains in this turn. */
  open(most: number = POPPED_MOST): void {
    this.#budget = Math.min(most, POPPED_MOST);
    this.reopen();
  }

  /** Before a further call of the same turn: it may pop what is left. */
  reopen(): void {
    this.#open = true;
    this.#before = this.#budget;
    this.#touched = false;
  }

  /** For a device that serves this queue now: kicks are not needed meanwhile. */
  quiet(): void {
    this.#touched = true;
    this.#hungry = false;
    // They are not asked for while it is polled.
    if (this.#polled) return;
    try {
      this.#ring?.disableKicks();
    } catch (error) {
      this.fail(error);
    }
  }

  /**
   * After a call into the device: publishes, and asks for kicks again.
   *
   * @param brisk - the device will be called at once if it should look: then they need not be asked for.
   * @returns whether buffers came in meanwhile and the device, which found none, should look once more: nobody kicks for them.
   */
  settle(brisk = false): boolean {
    this.#open = false;
    this.flush();
    if (!this.#touched || this.#ring === undefined || this.#broken) return false;
    if (brisk && !this.#polled && this.waiting) return true;
    try {
      return this.#askForKicks(this.#ring) && this.#hungry;
    } catch (error) {
      this.fail(error);
      return false;
    }
  }

  /**
   * Whether the device may be called again in the same turn: it took something, may take more, and owes nothing. One that answers later
   * does so from the event loop, which must have its turn.
   */
  get brisk(): boolean {
    return this.#budget > 0 && this.taken > 0 && !this.owing;
  }

  /** Chains that the device took in the last call into it. */
  get taken(): number {
    return this.#before - this.#budget;
  }

  /** Chains that an earlier device took and did not hand back, and that were not taken anew. */
  get left(): number {
    return this.#ring?.pending ?? 0;
  }

  /** Whether the device holds chains. */
  get owing(): boolean {
    return this.#ring !== undefined && this.#ring.inFlight > 0;
  }

  /** Whether the device found nothing more when it looked last. One that leaves buffers where they are wants to hear of new ones only. */
  get hungry(): boolean {
    return this.#hungry;
  }

  /** Whether there is something for a device that would take it. */
  get waiting(): boolean {
    return this.#hungry && this.#running?.waiting === true;
  }

  /** Somebody looks at `waiting` from now on, and kicks are not asked for. @returns `false` when that is of no use. */
  poll(): boolean {
    if (!this.#hungry || !this.running || this.#ring!.remote) return false;
    this.#polled = true;
    this.#ring!.disableKicks();
    return true;
  }

  /** Nobody looks any more. @returns `true` when something came in before kicks were asked for: then somebody must look on. */
  rest(): boolean {
    if (this.running) {
      try {
        if (this.#ring!.enableKicks() && this.#hungry) return true;
      } catch (error) {
        this.fail(error);
      }
    }
    this.#polled = false;
    return false;
  }

  #askForKicks(ring: Virtqueue): boolean {
    return this.#polled ? false : ring.enableKicks();
  }

  /** A chain that is to be served anew, if there is one. */
  #retried(ring: Virtqueue): Chain | undefined {
    const chain = this.#again.length === 0 ? undefined : this.#again.shift();
    if (chain === undefined) return undefined;
    ring.rewind(chain);
    if (this.#older.size > 0) this.#returned(this.#takers[chain.head]!);
    return chain;
  }

  #returned(taker: number): void {
    const held = this.#older.get(taker);
    if (held === undefined) return;
    if (held > 1) {
      this.#older.set(taker, held - 1);
      return;
    }
    this.#older.delete(taker);
    this.#events.released();
  }

  #changed(): void {
    const running = !this.#broken && !this.#held && !this.#suspended;
    this.#running = running ? this.#ring : undefined;
  }

  #forgetOlder(): void {
    if (this.#older.size === 0) return;
    this.#older.clear();
    this.#events.released();
  }
}
