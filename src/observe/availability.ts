import type { GuestAddress } from '../memory/address.js';
import type { DeviceQueueOptions } from '../virtqueue/device-queue-options.js';
import * as packed from '../virtqueue/packed/layout.js';
import { VIRTQ_AVAIL } from '../virtqueue/split/layout.js';

/** Counts the chains that a driver makes available, by a look at its ring from time to time. */
export interface Availability {
  /** How many more there are than at the last look. Memory that is not there has none: the ring itself says so. */
  look(): number;
  /** Begins anew: with the next look, all that lies in the ring from here on is more. @param base - of the ring. */
  seek(base: number): void;
}

/** @param queue - where its ring lies, in memory that can be looked at. */
export function availabilityOf(queue: DeviceQueueOptions, isPacked: boolean): Availability {
  return isPacked ? new PackedAvailability(queue) : new SplitAvailability(queue);
}

/** The available index (VIRTIO 1.3 §2.7.6). */
class SplitAvailability implements Availability {
  readonly #queue: DeviceQueueOptions;
  readonly #index: GuestAddress;
  readonly #bytes = new Uint8Array(2);
  #seen: number;

  constructor(queue: DeviceQueueOptions) {
    this.#queue = queue;
    this.#index = (queue.driverArea + VIRTQ_AVAIL.idx) as GuestAddress;
    this.#seen = queue.base;
  }

  look(): number {
    try {
      this.#queue.memory.read(this.#index, this.#bytes);
    } catch {
      return 0;
    }
    const index = this.#bytes[0]! | (this.#bytes[1]! << 8);
    const more = (index - this.#seen) & 0xffff;
    // One that jumped breaks the queue.
    if (more > this.#queue.size) return 0;
    this.#seen = index;
    return more;
  }

  seek(base: number): void {
    this.#seen = base & 0xffff;
  }
}

/** Descriptors from the last one seen on whose owner is the driver (§2.8.1); each without NEXT ends a chain. */
class PackedAvailability implements Availability {
  readonly #queue: DeviceQueueOptions;
  readonly #bytes = new Uint8Array(2);
  #at: number;
  #wrap: boolean;

  constructor(queue: DeviceQueueOptions) {
    this.#queue = queue;
    this.#at = queue.base & 0x7fff;
    this.#wrap = (queue.base & 0x8000) !== 0;
  }

  look(): number {
    const { memory, size, descriptorArea } = this.#queue;
    let chains = 0;
    // A chain that is not whole yet is counted when it is.
    let place = this.#at;
    let wrap = this.#wrap;
    for (let looked = 0; looked < size; looked++) {
      const offset = packed.PVIRTQ_DESC_SIZE * place + packed.PVIRTQ_DESC.flags;
      try {
        memory.read((descriptorArea + offset) as GuestAddress, this.#bytes);
      } catch {
        break;
      }
      const flags = this.#bytes[0]! | (this.#bytes[1]! << 8);
      if ((flags & packed.OWNER_FLAGS) !== packed.availableFlags(wrap)) break;
      place += 1;
      if (place === size) {
        place = 0;
        wrap = !wrap;
      }
      if ((flags & packed.VIRTQ_DESC_F_NEXT) !== 0) continue;
      chains += 1;
      this.#at = place;
      this.#wrap = wrap;
    }
    return chains;
  }

  seek(base: number): void {
    this.#at = base & 0x7fff;
    this.#wrap = (base & 0x8000) !== 0;
  }
}
