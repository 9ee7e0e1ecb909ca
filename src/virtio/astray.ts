import type { Chain } from '../virtqueue/chain.js';
import type { Virtqueue } from '../virtqueue/virtqueue.js';

/**
 * Chains that the device still works on when their ring is taken away. What it writes into them reaches nobody, but its work may have other
 * effects: who has them served anew waits until they are back.
 */
export class Astray {
  #ring: Virtqueue | undefined;
  #left = 0;
  #home: (() => void) | undefined;

  /** A ring is taken away. @param ring - not closed yet. */
  gone(ring: Virtqueue): void {
    this.forget();
    if (ring.inFlight === 0) return;
    this.#ring = ring;
    this.#left = ring.inFlight;
  }

  /** The device handed a chain back that is not of the ring that there is now. */
  came(chain: Chain): void {
    if (this.#ring?.owns(chain) !== true) return;
    this.#left -= 1;
    if (this.#left > 0) return;
    const home = this.#home;
    this.forget();
    home?.();
  }

  /** Calls back when all are back: at once when none is away. */
  whenHome(done: () => void): void {
    if (this.#ring === undefined) done();
    else this.#home = done;
  }

  /** Nobody waits for them. */
  forget(): void {
    this.#ring = undefined;
    this.#home = undefined;
  }
}
