import { COMMON } from '../virtio-pci.js';
import type { PciAccess } from './pci-platform.js';
import type { Structure } from './probe.js';

/** The common configuration as a driver uses it: one access of the field's own width each (VIRTIO 1.3 §4.1.3.1). */
export class CommonRegisters {
  readonly #access: PciAccess;
  readonly #place: Structure;

  constructor(access: PciAccess, place: Structure) {
    this.#access = access;
    this.#place = place;
  }

  async read(field: keyof typeof COMMON, size: 1 | 2 | 4): Promise<number> {
    const bytes = await this.#access.readBar(this.#place.bar, this.#place.offset + COMMON[field], size);
    return bytes.reduceRight((value, byte) => value * 0x100 + byte, 0);
  }

  write(field: keyof typeof COMMON, size: 1 | 2 | 4, value: number): Promise<void> {
    return this.#write(COMMON[field], size, value);
  }

  /** A 64-bit field as two halves, the low one first. */
  async write64(field: 'queue_desc' | 'queue_driver' | 'queue_device', value: number): Promise<void> {
    await this.#write(COMMON[field], 4, value % 0x1_0000_0000);
    await this.#write(COMMON[field] + 4, 4, Math.floor(value / 0x1_0000_0000));
  }

  #write(offset: number, size: 1 | 2 | 4, value: number): Promise<void> {
    const bytes = Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24).subarray(0, size);
    return this.#access.writeBar(this.#place.bar, this.#place.offset + offset, bytes);
  }
}
