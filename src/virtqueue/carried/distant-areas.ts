import type { GuestAddress } from '../../memory/address.js';
import type { DistantMemory } from '../../memory/distant-memory.js';
import type { DeviceQueueOptions } from '../device-queue-options.js';
import { rangeText } from '../indirect-table.js';
import { VirtqueueError } from '../virtqueue-error.js';

/** What asks for the areas: whether it still wants them, and who hears that they can't be had. */
export interface AreaEvents {
  readonly over: boolean;
  fail(error: VirtqueueError): void;
}

type Area = 'descriptor' | 'driver' | 'device';

/** The three areas of a virtqueue in distant memory. */
export class DistantAreas {
  readonly #options: DeviceQueueOptions;
  readonly #distant: DistantMemory;
  readonly #events: AreaEvents;
  readonly #section: string;

  /**
   * @param sizes - bytes of each area, and `alignment` what its address is a multiple of.
   * @param section - of the specification: where they are.
   * @throws VirtqueueError `AREA_UNMAPPED` or `AREA_ALIGNMENT`.
   */
  constructor(
    options: DeviceQueueOptions,
    sizes: Readonly<Record<Area, number>>,
    alignment: Readonly<Record<Area, number>>,
    section: string,
    distant: DistantMemory,
    events: AreaEvents,
  ) {
    for (const name of ['descriptor', 'driver', 'device'] as const) {
      const address = options[`${name}Area`];
      if (!options.memory.covers(address, sizes[name])) {
        throw new VirtqueueError(
          'AREA_UNMAPPED',
          section,
          `${name} area: ${rangeText(address, sizes[name])}`,
        );
      }
      if (address % alignment[name] !== 0) {
        const text = `${name} area 0x${address.toString(16)} is not aligned to ${alignment[name]} bytes`;
        throw new VirtqueueError('AREA_ALIGNMENT', section, text);
      }
    }
    this.#options = options;
    this.#distant = distant;
    this.#events = events;
    this.#section = section;
  }

  /** Asks for bytes. */
  fetch(area: Area, offset: number, length: number, then: (bytes: DataView) => void): void {
    const address = this.#address(area, offset);
    const bytes = new Uint8Array(length);
    this.#distant.read(address, bytes, (there) => {
      if (this.#ends(there, area, address, length)) then(new DataView(bytes.buffer));
    });
  }

  /** Sends bytes. */
  store(area: Area, offset: number, bytes: Uint8Array, then: () => void): void {
    const address = this.#address(area, offset);
    this.#distant.write(address, bytes, (there) => {
      if (this.#ends(there, area, address, bytes.length)) then();
    });
  }

  #address(area: Area, offset: number): GuestAddress {
    return (this.#options[`${area}Area`] + offset) as GuestAddress;
  }

  #ends(there: boolean, area: Area, address: GuestAddress, length: number): boolean {
    if (this.#events.over) return false;
    if (there) return true;
    this.#events.fail(
      new VirtqueueError('AREA_UNMAPPED', this.#section, `${area} area: ${rangeText(address, length)}`),
    );
    return false;
  }
}
