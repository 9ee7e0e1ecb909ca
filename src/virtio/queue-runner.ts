import type { Chain } from '../virtqueue/chain.js';
import type { Virtqueue } from '../virtqueue/virtqueue.js';
import type { DeviceQueue, QueueSpec } from './device.js';

/** What a queue tells whoever runs its device. */
export interface QueueEvents {
  /** The driver is to be interrupted. */
  interrupt(index: number): void;
  /** The driver broke a rule; the queue is empty from now on. */
  broken(index: number, error: unknown): void;
  /** The device took a chain of this queue. */
  popped(queue: QueueRunner): void;
}

/** One queue of a device, while its ring is started, stopped and replaced under it. */
export class QueueRunner implements DeviceQueue {
  readonly index: number;
  readonly name: string;
  readonly #events: QueueEvents;
  #ring: Virtqueue | undefined;
  #broken = false;
  #held = false;
  #open = false;
  #budget = 0;
  #touched = false;
  /** The device's last `pop` found nothing: it would have taken more. */
  #hungry = false;
  #drained: (() => void) | undefined;

  constructor(index: number, spec: QueueSpec, events: QueueEvents) {
    this.index = index;
    this.name = spec.name;
    this.#events = events;
  }

  /** Whether the device can be served from it. */
  get running(): boolean {
    return this.#ring !== undefined && !this.#broken && !this.#held;
  }

  get broken(): boolean {
    return this.#broken;
  }

  start(ring: Virtqueue): void {
    this.#ring = ring;
    this.#broken = false;
    this.#held = false;
  }

  /** Whether it is empty for the device, which can still hand back what it holds. */
  hold(held: boolean): void {
    this.#held = held;
  }

  /** Takes the ring away. @returns the base a later ring must start from. */
  stop(): number | undefined {
    this.flush();
    const base = this.#ring?.base;
    this.#ring?.close();
    this.#ring = undefined;
    this.#broken = false;
    this.#drained = undefined;
    return base;
  }

  /** Calls back as soon as the device holds no chain: at once when it holds none. */
  whenDrained(done: () => void): void {
    if (this.#ring === undefined || this.#broken || this.#ring.inFlight === 0) done();
    else this.#drained = done;
  }

  pop(): Chain | undefined {
    const ring = this.#ring;
    if (ring === undefined || this.#broken || this.#held) return undefined;
    this.#touched = true;
    this.#hungry = true;
    if (this.#open && this.#budget === 0) return undefined;
    try {
      // Outside of a call into the device nobody settles after it, so an empty queue asks for kicks at once.
      const chain = ring.pop() ?? (!this.#open && ring.enableKicks() ? ring.pop() : undefined);
      if (chain !== undefined) {
        this.#budget -= 1;
        this.#hungry = false;
        this.#events.popped(this);
      }
      return chain;
    } catch (error) {
      this.fail(error);
      return undefined;
    }
  }

  push(chain: Chain): void {
    const ring = this.#ring;
    if (ring === undefined || this.#broken || !ring.owns(chain)) return;
    try {
      ring.push(chain);
    } catch (error) {
      // Pushed twice: the device's own mistake, not the driver's.
      if (error instanceof TypeError) throw error;
      this.fail(error);
      return;
    }
    if (ring.inFlight === 0 && this.#drained !== undefined) {
      const done = this.#drained;
      this.#drained = undefined;
      this.flush();
      done();
    }
  }

  flush(): void {
    if (this.#ring === undefined || this.#broken) return;
    try {
      if (this.#ring.publish()) this.#events.interrupt(this.index);
    } catch (error) {
      this.fail(error);
    }
  }

  /** Marks it broken: it stays empty until the next `start`. */
  fail(error: unknown): void {
    if (this.#broken) return;
    this.#broken = true;
    this.#events.broken(this.index, error);
    const done = this.#drained;
    this.#drained = undefined;
    done?.();
  }

  /** Before a call into the device: it may pop `size` chains, so that a driver that never stops can't keep the process to itself. */
  open(): void {
    this.#open = true;
    this.#budget = this.#ring?.size ?? 0;
    this.#hungry = false;
    this.#touched = false;
  }

  /** For a device that serves this queue now: kicks are not needed meanwhile. */
  quiet(): void {
    this.#ring?.disableKicks();
    this.#touched = true;
  }

  /**
   * After a call into the device: publishes, and asks for kicks again.
   *
   * @returns whether buffers came in meanwhile and the device, which found none, should look once more: nobody kicks for them.
   */
  settle(): boolean {
    this.#open = false;
    this.flush();
    if (!this.#touched || this.#ring === undefined || this.#broken) return false;
    try {
      return this.#ring.enableKicks() && this.#hungry;
    } catch (error) {
      this.fail(error);
      return false;
    }
  }
}
