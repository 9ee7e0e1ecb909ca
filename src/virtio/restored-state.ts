import type { VirtioDevice } from './device.js';
import { type MakeDevice, madeDevice } from './make-device.js';
import { restoreDevice } from './moved-device.js';

/** A state that the first device goes on from which a driver starts. */
export class RestoredState {
  #bytes: Uint8Array | undefined;

  /**
   * @param make - makes such devices; one of them tries.
   * @throws StateError when it can't go on from that; or what it throws.
   */
  constructor(make: MakeDevice, bytes: Uint8Array | undefined) {
    if (bytes === undefined) return;
    const device = madeDevice(make, 'serve');
    try {
      restoreDevice(device, bytes);
    } finally {
      device.close?.();
    }
    this.#bytes = bytes;
  }

  /** To one that no driver has seen. */
  giveTo(device: VirtioDevice): void {
    if (this.#bytes !== undefined) restoreDevice(device, this.#bytes);
  }

  /** One that has it was started: nobody gets it again. */
  given(): void {
    this.#bytes = undefined;
  }
}
