import type { GuestMemory } from '../memory/guest-memory.js';
import type { Chain } from './chain.js';
import { HeldChain, type Starving } from './held-chain.js';

/** Segments in flight at once, over all chains: what honest drivers never reach, at 12 bytes of ours for each. */
export const SEGMENTS_MOST: number = 1 << 20;

/** Bytes that are kept for a ring whose memory is out of reach for now; a chain with more begins anew. */
const KEPT_MOST = 16 << 20;

/** The chains of one queue, by head: those that the device holds, and objects for those that will come. */
export class HeldChains {
  readonly #memory: GuestMemory;
  /** One for each head, made when it is first seen. */
  readonly #chains: (HeldChain | undefined)[];
  #spare: HeldChain;
  #inFlight = 0;
  #segments = 0;
  #suspended: Starving | undefined;
  #lastStarved: HeldChain | undefined;

  constructor(memory: GuestMemory, size: number) {
    this.#memory = memory;
    this.#chains = new Array<HeldChain | undefined>(size).fill(undefined);
    this.#spare = new HeldChain(memory, 0);
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get suspended(): boolean {
    return this.#suspended !== undefined;
  }

  /** One that nobody holds, to be filled with what the driver made available next. Its head may be found last. */
  get spare(): HeldChain {
    return this.#spare;
  }

  /** Whether the device holds the chain of this head. */
  isHeld(head: number): boolean {
    return this.#chains[head]?.inFlight === true;
  }

  /**
   * Gives the device the spare one, which has a head and segments now.
   *
   * @returns `undefined` when it would hold more segments than can be.
   */
  give(): HeldChain | undefined {
    const chain = this.#spare;
    const segments = this.#segments + chain.segments;
    if (segments > SEGMENTS_MOST) return undefined;
    const { head } = chain;
    this.#spare = this.#chains[head] ?? new HeldChain(this.#memory, head);
    this.#chains[head] = chain;
    this.#segments = segments;
    this.#inFlight += 1;
    chain.start();
    // Reading the ring may be what memory was taken away in.
    if (this.#suspended !== undefined) chain.suspend(this.#suspended);
    return chain;
  }

  owns(chain: Chain): boolean {
    return this.#chains[chain.head] === chain;
  }

  /** @throws TypeError when the device does not hold it. */
  check(chain: Chain): HeldChain {
    const own = this.#chains[chain.head];
    if (own !== chain || !own.inFlight) {
      throw new TypeError(`chain ${chain.head} is not in flight on this queue`);
    }
    return own;
  }

  /** Takes one back from the device. */
  takeBack(chain: HeldChain): void {
    chain.end();
    this.#inFlight -= 1;
    this.#segments -= chain.segments;
  }

  suspend(): void {
    const suspended = {
      room: KEPT_MOST,
      starved: (chain: HeldChain) => {
        this.#lastStarved = chain;
      },
    };
    this.#suspended = suspended;
    for (const chain of this.#chains) if (chain?.inFlight) chain.suspend(suspended);
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

  /** Whoever still holds one can do nothing with it. */
  end(): void {
    for (const chain of this.#chains) if (chain?.inFlight) chain.end();
    this.#inFlight = 0;
    this.#segments = 0;
  }
}
