import type { GuestMemory } from '../memory/guest-memory.js';
import { TranslatedMemory } from '../memory/translated-memory.js';
import type { Chain } from './chain.js';
import { HeldChain, type Starving } from './held-chain.js';
import { TranslatedChain } from './translated-chain.js';

/** Segments in flight at once, over all chains: what honest drivers never reach, at 8 bytes of ours for each. */
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
    this.#spare = chainOf(memory, 0);
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  /** Whether all that the device holds is translated. What is not is asked for. */
  get reachable(): boolean {
    let all = true;
    for (const chain of this.#chains) {
      if (chain instanceof TranslatedChain && chain.inFlight && !chain.reachable) all = false;
    }
    return all;
  }

  /** One that nobody holds, whatever its head will be. */
  get spare(): HeldChain {
    return this.#spare;
  }

  /** The one of this head, to be filled with what the driver made available; `undefined` when the device holds it, or there is none. */
  pick(head: number): HeldChain | undefined {
    const chain = this.#chains[head];
    if (chain === undefined) return this.#make(head);
    return chain.inFlight ? undefined : chain;
  }

  #make(head: number): HeldChain | undefined {
    if (head >= this.#chains.length) return undefined;
    const made = chainOf(this.#memory, head);
    this.#chains[head] = made;
    return made;
  }

  /** Whether the device holds the chain of this head. */
  isHeld(head: number): boolean {
    return this.#chains[head]?.inFlight === true;
  }

  /**
   * Gives the device one that was picked and filled.
   *
   * @returns `false` when the device would hold more segments than can be.
   */
  give(chain: HeldChain): boolean {
    const segments = this.#segments + chain.segments;
    if (segments > SEGMENTS_MOST) return false;
    this.#segments = segments;
    this.#inFlight += 1;
    chain.start();
    // Reading the ring may be what memory was taken away in.
    if (this.#suspended !== undefined) chain.suspend(this.#suspended);
    return true;
  }

  /** One that was picked, or the spare one, is this one: nobody holds it. */
  rename(chain: HeldChain, head: number): void {
    if (this.#chains[head] === chain) return;
    const other = this.#chains[head] ?? chainOf(this.#memory, head);
    if (chain === this.#spare) this.#spare = other;
    else {
      other.head = chain.head;
      this.#chains[chain.head] = other;
    }
    chain.head = head;
    this.#chains[head] = chain;
  }

  owns(chain: Chain): boolean {
    return this.#chains[chain.head] === chain;
  }

  /** @throws TypeError when the device does not hold it. */
  check(chain: Chain): HeldChain {
    const own = this.#chains[chain.head];
    if (own !== chain || !own.inFlight) throw notHeld(chain);
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
    for (const chain of this.#chains) if (chain?.inFlight) chain.lose();
    this.#inFlight = 0;
    this.#segments = 0;
  }
}

function notHeld(chain: Chain): TypeError {
  return new TypeError(`chain ${chain.head} is not in flight on this queue`);
}

function chainOf(memory: GuestMemory, head: number): HeldChain {
  return memory instanceof TranslatedMemory ? new TranslatedChain(memory, head) : new HeldChain(memory, head);
}
