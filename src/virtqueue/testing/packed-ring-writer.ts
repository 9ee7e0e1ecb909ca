import type { GuestAddress } from '../../memory/address.js';
import type { GuestMemory } from '../../memory/guest-memory.js';
import type { MemoryView } from '../../memory/memory-view.js';
import {
  availableFlags,
  descriptorAreaSize,
  PVIRTQ_DESC,
  PVIRTQ_DESC_SIZE,
  PVIRTQ_EVENT_SUPPRESS,
  PVIRTQ_EVENT_SUPPRESS_SIZE,
  usedFlags,
} from '../packed/layout.js';

/** The fields of one descriptor, of any value that fits. What is left out is 0. */
export interface RawPackedDescriptor {
  readonly address?: number | bigint;
  readonly length?: number;
  readonly id?: number;
  readonly flags?: number;
}

/**
 * Writes a packed ring field by field, true or false, and reads it back: the hostile driver (or device) of a test. It
 * remembers nothing, checks nothing and publishes at once.
 */
export class PackedRingWriter {
  readonly size: number;
  readonly #memory: GuestMemory;
  readonly #ring: MemoryView;
  /** The two event suppression structures. */
  readonly driver: EventWriter;
  readonly device: EventWriter;

  constructor(ring: {
    readonly memory: GuestMemory;
    readonly size: number;
    readonly descriptorArea: GuestAddress;
    readonly driverArea: GuestAddress;
    readonly deviceArea: GuestAddress;
  }) {
    const { memory, size } = ring;
    this.size = size;
    this.#memory = memory;
    this.#ring = memory.view(ring.descriptorArea, descriptorAreaSize(size));
    this.driver = new EventWriter(memory.view(ring.driverArea, PVIRTQ_EVENT_SUPPRESS_SIZE));
    this.device = new EventWriter(memory.view(ring.deviceArea, PVIRTQ_EVENT_SUPPRESS_SIZE));
  }

  /** Writes a descriptor with the flags as they are given. */
  descriptor(index: number, descriptor: RawPackedDescriptor): void {
    this.#ring.copyIn(PVIRTQ_DESC_SIZE * index, encode(descriptor), 0, PVIRTQ_DESC_SIZE);
  }

  /** Writes a list of them from `index` on, available in this lap of the driver, the first one last. NEXT is set where it must be. */
  offer(index: number, wrap: boolean, list: readonly RawPackedDescriptor[]): void {
    for (let i = list.length - 1; i >= 0; i--) {
      const at = (index + i) % this.size;
      const flags = availableFlags(at < index ? !wrap : wrap) | (i + 1 < list.length ? 1 : 0);
      this.descriptor(at, { ...list[i]!, flags: flags | (list[i]!.flags ?? 0) });
    }
  }

  /** Writes a used descriptor of this lap of the device. */
  answer(index: number, wrap: boolean, id: number, length: number): void {
    this.descriptor(index, { length, id, flags: usedFlags(wrap) | (length > 0 ? 2 : 0) });
  }

  read(index: number): { readonly length: number; readonly id: number; readonly flags: number } {
    const at = PVIRTQ_DESC_SIZE * index;
    return {
      length: this.#ring.read32(at + PVIRTQ_DESC.len),
      id: this.#ring.read16(at + PVIRTQ_DESC.id),
      flags: this.#ring.load16(at + PVIRTQ_DESC.flags),
    };
  }

  /** Writes a table of descriptors anywhere in guest memory, for an indirect one to name. */
  tableAt(address: GuestAddress, descriptors: readonly RawPackedDescriptor[]): void {
    descriptors.forEach((descriptor, i) => {
      this.#memory.write((address + PVIRTQ_DESC_SIZE * i) as GuestAddress, encode(descriptor));
    });
  }
}

/** One event suppression structure. */
class EventWriter {
  readonly #view: MemoryView;

  constructor(view: MemoryView) {
    this.#view = view;
  }

  get desc(): number {
    return this.#view.load16(PVIRTQ_EVENT_SUPPRESS.desc);
  }

  set desc(place: number) {
    this.#view.store16(PVIRTQ_EVENT_SUPPRESS.desc, place);
  }

  get flags(): number {
    return this.#view.load16(PVIRTQ_EVENT_SUPPRESS.flags);
  }

  set flags(flags: number) {
    this.#view.store16(PVIRTQ_EVENT_SUPPRESS.flags, flags);
  }
}

function encode({ address = 0, length = 0, id = 0, flags = 0 }: RawPackedDescriptor): Uint8Array {
  const bytes = new Uint8Array(PVIRTQ_DESC_SIZE);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(PVIRTQ_DESC.addr, BigInt(address), true);
  view.setUint32(PVIRTQ_DESC.len, length, true);
  view.setUint16(PVIRTQ_DESC.id, id, true);
  view.setUint16(PVIRTQ_DESC.flags, flags, true);
  return bytes;
}
