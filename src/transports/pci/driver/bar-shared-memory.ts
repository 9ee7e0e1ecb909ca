import { MemoryError } from '../../../memory/memory-error.js';
import type { DriverSharedMemory } from '../../../virtio/shared-memory.js';
import type { PciAccess } from './pci-platform.js';
import type { Structure } from './probe.js';

/** Bytes of one access. */
const PIECE = 65_536;

/** A driver's end of a region that is reached by accesses to its BAR. What the device has nothing mapped for reads as zeros. */
export class BarSharedMemory implements DriverSharedMemory {
  readonly id: number;
  readonly #access: PciAccess;
  readonly #place: Structure;

  constructor(access: PciAccess, id: number, place: Structure) {
    this.id = id;
    this.#access = access;
    this.#place = place;
  }

  get size(): number {
    return this.#place.length;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    this.#check(offset, length);
    const out = new Uint8Array(length);
    for (let done = 0; done < length; done += PIECE) {
      const size = Math.min(PIECE, length - done);
      out.set(await this.#access.readBar(this.#place.bar, this.#place.offset + offset + done, size), done);
    }
    return out;
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    this.#check(offset, bytes.length);
    for (let done = 0; done < bytes.length; done += PIECE) {
      const piece = bytes.slice(done, done + PIECE);
      await this.#access.writeBar(this.#place.bar, this.#place.offset + offset + done, piece);
    }
  }

  view(): undefined {
    return undefined;
  }

  #check(offset: number, length: number): void {
    if (!(offset >= 0 && offset + length <= this.size)) throw new MemoryError('UNMAPPED', offset, length);
  }
}
