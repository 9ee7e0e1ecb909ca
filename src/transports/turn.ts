import type { Clock } from '../virtio/clock.js';

/** How long what one peer sent may keep the event loop before others have their turn, in ns. */
const LONGEST = 4e6;

/** One turn of the event loop, for what a peer sent. */
export class Turn {
  readonly #clock: Clock;
  readonly #ends: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#ends = clock.now() + LONGEST;
  }

  get over(): boolean {
    return this.#clock.now() >= this.#ends;
  }
}
