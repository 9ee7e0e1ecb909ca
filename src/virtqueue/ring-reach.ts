import type { GuestAddress } from '../memory/address.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import { MemoryError } from '../memory/memory-error.js';
import { ACCESS_READ, ACCESS_WRITE, TranslatedMemory } from '../memory/translated-memory.js';
import type { HeldChains } from './held-chains.js';

/** Where a ring is, and how many bytes there are of it. */
interface Areas {
  readonly descriptorArea: GuestAddress;
  readonly driverArea: GuestAddress;
  readonly deviceArea: GuestAddress;
}

/** What a ring has to do with translated memory: it touches none of which it does not know that it may. */
export class RingReach {
  readonly #memory: TranslatedMemory;
  readonly #held: HeldChains;
  /** Of each area: where it is, bytes, and what is done there. */
  readonly #areas: readonly (readonly [address: number, length: number, access: number])[];

  /** @returns `undefined` for memory that is as it is. */
  static of(
    memory: GuestMemory,
    held: HeldChains,
    areas: Areas,
    lengths: Readonly<Record<'descriptor' | 'driver' | 'device', number>>,
    packed: boolean,
  ): RingReach | undefined {
    return memory instanceof TranslatedMemory
      ? new RingReach(memory, held, areas, lengths, packed)
      : undefined;
  }

  private constructor(
    memory: TranslatedMemory,
    held: HeldChains,
    { descriptorArea, driverArea, deviceArea }: Areas,
    lengths: Readonly<Record<'descriptor' | 'driver' | 'device', number>>,
    packed: boolean,
  ) {
    this.#memory = memory;
    this.#held = held;
    this.#areas = [
      // Into a packed ring goes what was used, too.
      [descriptorArea, lengths.descriptor, packed ? ACCESS_READ | ACCESS_WRITE : ACCESS_READ],
      [driverArea, lengths.driver, ACCESS_READ],
      [deviceArea, lengths.device, ACCESS_READ | ACCESS_WRITE],
    ];
  }

  /** Whether the ring, and what its device holds, can be reached. What can't is asked for. */
  get reachable(): boolean {
    const ring = this.#isRingReachable();
    return this.#held.reachable && ring;
  }

  /** @throws MemoryError `UNTRANSLATED` until the ring can be reached. */
  admitRing(): void {
    if (!this.#isRingReachable())
      throw new MemoryError('UNTRANSLATED', this.#areas[0]![0], this.#areas[0]![1]);
  }

  #isRingReachable(): boolean {
    let all = true;
    for (const [address, length, access] of this.#areas) {
      if (!this.#memory.has(address, length, access)) all = false;
    }
    return all;
  }
}
