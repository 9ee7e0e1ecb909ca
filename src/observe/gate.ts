import type { VirtqueueError } from '../virtqueue/virtqueue-error.js';
import type { StopAt } from './ring-watch.js';

/**
 * What a device has to pass before it gets a chain. While it is shut the chains stay in the ring, where they are, so that a ring which is stopped, reset
 * or handed over meanwhile needs to know nothing of it.
 */
export class Gate {
  stopAt: StopAt | undefined;
  stopBroken: ((error: VirtqueueError) => boolean) | undefined;
  /** The ring that was found broken, while the device is kept from seeing that. */
  failure: VirtqueueError | undefined;
  #held = false;
  /** Chains that pass though it is held. */
  #steps = 0;
  /** How many chains will have passed with the one that is not asked about again. */
  #past = 0;

  get held(): boolean {
    return this.#held;
  }

  /** Whether nothing passes. */
  get shut(): boolean {
    return this.#held && this.#steps === 0;
  }

  /** Whether it is anything but open. */
  get closely(): boolean {
    return this.#held || this.stopAt !== undefined || this.stopBroken !== undefined;
  }

  hold(): void {
    this.#held = true;
    this.#steps = 0;
  }

  /** @param passed - chains that passed so far. */
  step(chains: number, passed: number): void {
    if (!this.#held) return;
    this.#steps = chains;
    this.#past = passed + 1;
  }

  /** @param ask - about the one that it was kept from, too. */
  release(passed: number, ask: boolean): void {
    this.#held = false;
    this.#steps = 0;
    if (!ask) this.#past = passed + 1;
  }

  /** Whether the next chain may pass. @param waits - whether there is one. */
  opens(passed: number, waits: () => boolean): boolean {
    if (this.shut) return false;
    if (this.stopAt === undefined || this.#past === passed + 1 || !waits()) return true;
    if (!this.stopAt()) return true;
    this.hold();
    return false;
  }

  /** One passed. */
  passed(): void {
    if (this.#steps > 0) this.#steps -= 1;
  }

  /** Whether this stays hidden from the device for now. */
  hides(error: VirtqueueError): boolean {
    if (this.failure !== undefined || this.stopBroken?.(error) !== true) {
      this.#held = false;
      return false;
    }
    this.failure = error;
    this.hold();
    return true;
  }
}
