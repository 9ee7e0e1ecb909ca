import type { GuestAddress } from '../../memory/address.js';
import type { GuestMemory } from '../../memory/guest-memory.js';
import type { MemoryView } from '../../memory/memory-view.js';
import {
  availEventOffset,
  descriptorAreaSize,
  deviceAreaSize,
  driverAreaSize,
  usedEventOffset,
  VIRTQ_AVAIL,
  VIRTQ_DESC,
  VIRTQ_DESC_SIZE,
  VIRTQ_USED,
  VIRTQ_USED_ELEM,
  VIRTQ_USED_ELEM_SIZE,
} from '../split/layout.js';

/** The fields of one descriptor, of any value that fits. What is left out is 0. */
export interface RawDescriptor {
  readonly address?: number | bigint;
  readonly length?: number;
  readonly flags?: number;
  readonly next?: number;
}

/**
 * Writes a split ring field by field, true or false, and reads it back: the hostile driver (or device) of a test. It
 * remembers nothing, checks nothing and publishes at once.
 */
export class RingWriter {
  readonly size: number;
  readonly #memory: GuestMemory;
  readonly #table: MemoryView;
  readonly #avail: MemoryView;
  readonly #used: MemoryView;

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
    this.#table = memory.view(ring.descriptorArea, descriptorAreaSize(size));
    this.#avail = memory.view(ring.driverArea, driverAreaSize(size));
    this.#used = memory.view(ring.deviceArea, deviceAreaSize(size));
  }

  /** Writes one entry of the descriptor table. */
  descriptor(index: number, descriptor: RawDescriptor): void {
    this.#table.copyIn(VIRTQ_DESC_SIZE * index, encode(descriptor), 0, VIRTQ_DESC_SIZE);
  }

  /** Writes a table of descriptors anywhere in guest memory, for an indirect one to name. */
  tableAt(address: GuestAddress, descriptors: readonly RawDescriptor[]): void {
    descriptors.forEach((descriptor, i) => {
      this.#memory.write((address + VIRTQ_DESC_SIZE * i) as GuestAddress, encode(descriptor));
    });
  }

  /** Puts a head into the next entry of the available ring and shows it. */
  offer(head: number): void {
    const index = this.availIndex;
    this.availEntry(index, head);
    this.availIndex = index + 1;
  }

  /** Writes one entry of the available ring; `index` counts on, modulo the size. */
  availEntry(index: number, head: number): void {
    this.#avail.write16(VIRTQ_AVAIL.ring + 2 * (index & (this.size - 1)), head);
  }

  get availIndex(): number {
    return this.#avail.load16(VIRTQ_AVAIL.idx);
  }

  set availIndex(index: number) {
    this.#avail.store16(VIRTQ_AVAIL.idx, index);
  }

  get availFlags(): number {
    return this.#avail.load16(VIRTQ_AVAIL.flags);
  }

  set availFlags(flags: number) {
    this.#avail.store16(VIRTQ_AVAIL.flags, flags);
  }

  get usedEvent(): number {
    return this.#avail.load16(usedEventOffset(this.size));
  }

  set usedEvent(index: number) {
    this.#avail.store16(usedEventOffset(this.size), index);
  }

  get usedIndex(): number {
    return this.#used.load16(VIRTQ_USED.idx);
  }

  set usedIndex(index: number) {
    this.#used.store16(VIRTQ_USED.idx, index);
  }

  get usedFlags(): number {
    return this.#used.load16(VIRTQ_USED.flags);
  }

  set usedFlags(flags: number) {
    this.#used.store16(VIRTQ_USED.flags, flags);
  }

  get availEvent(): number {
    return this.#used.load16(availEventOffset(this.size));
  }

  set availEvent(index: number) {
    this.#used.store16(availEventOffset(this.size), index);
  }

  /** Reads one entry of the used ring; `index` counts on, modulo the size. */
  used(index: number): { readonly id: number; readonly len: number } {
    const at = this.#usedAt(index);
    const id = this.#used.read32(at + VIRTQ_USED_ELEM.id);
    return { id, len: this.#used.read32(at + VIRTQ_USED_ELEM.len) };
  }

  /** Writes one entry of the used ring. */
  usedEntry(index: number, id: number, len: number): void {
    this.#used.write32(this.#usedAt(index) + VIRTQ_USED_ELEM.id, id);
    this.#used.write32(this.#usedAt(index) + VIRTQ_USED_ELEM.len, len);
  }

  /** Puts an element into the next entry of the used ring and shows it. */
  answer(id: number, len: number): void {
    const index = this.usedIndex;
    this.usedEntry(index, id, len);
    this.usedIndex = index + 1;
  }

  #usedAt(index: number): number {
    return VIRTQ_USED.ring + VIRTQ_USED_ELEM_SIZE * (index & (this.size - 1));
  }
}

function encode({ address = 0, length = 0, flags = 0, next = 0 }: RawDescriptor): Uint8Array {
  const bytes = new Uint8Array(VIRTQ_DESC_SIZE);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(VIRTQ_DESC.addr, BigInt(address), true);
  view.setUint32(VIRTQ_DESC.len, length, true);
  view.setUint16(VIRTQ_DESC.flags, flags, true);
  view.setUint16(VIRTQ_DESC.next, next, true);
  return bytes;
}
