import type { GuestAddress } from '../memory/address.js';
import type { DeviceQueueOptions } from '../virtqueue/device-queue-options.js';
import * as packed from '../virtqueue/packed/layout.js';
import { Place } from '../virtqueue/packed/place.js';
import * as split from '../virtqueue/split/layout.js';

/** Entries of a ring that were looked at: `entries` of them from `first` on, modulo its size. */
export interface RingWindow {
  readonly size: number;
  readonly first: number;
  readonly entries: number;
}

/** A split ring as it lies in memory (VIRTIO 1.3 §2.7). */
export interface SplitLook extends RingWindow {
  readonly layout: 'split';
  readonly descriptors: readonly (readonly [address: number, length: number, flags: number, next: number])[];
  readonly available: {
    readonly flags: number;
    readonly index: number;
    /** Where the device goes on. */
    readonly next: number;
    readonly ring: readonly number[];
    readonly usedEvent?: number;
  };
  readonly used: {
    readonly flags: number;
    readonly index: number;
    readonly ring: readonly (readonly [id: number, length: number])[];
    readonly availEvent?: number;
  };
}

/** An event suppression area (§2.8.14). */
export interface EventLook {
  readonly offset: number;
  readonly wrap: boolean;
  readonly flags: number;
}

/** A packed ring (§2.8). */
export interface PackedLook extends RingWindow {
  readonly layout: 'packed';
  readonly descriptors: readonly (readonly [address: number, length: number, id: number, flags: number])[];
  /** Where the device takes the next one, and puts the next used one. */
  readonly available: { readonly offset: number; readonly wrap: boolean };
  readonly used: { readonly offset: number; readonly wrap: boolean };
  readonly driverEvent: EventLook;
  readonly deviceEvent: EventLook;
}

/** A ring as it lies in memory. Its driver may be writing to it. */
export type RingLook = SplitLook | PackedLook;

/**
 * Looks at a ring.
 *
 * @param base - of the ring: where its device goes on.
 * @param most - entries to look at, at most; around where something happens.
 * @throws MemoryError when it is not there.
 */
export function lookAtRing(
  queue: DeviceQueueOptions,
  isPacked: boolean,
  base: number,
  most: number,
): RingLook {
  return isPacked ? lookAtPacked(queue, base, most) : lookAtSplit(queue, base, most);
}

function lookAtSplit(queue: DeviceQueueOptions, base: number, most: number): SplitLook {
  const { size, descriptorArea, driverArea, deviceArea, eventIdx } = queue;
  const index = at(queue, deviceArea + split.VIRTQ_USED.idx, 2).getUint16(0, true);
  const entries = Math.min(size, most);
  const first = entries === size ? 0 : (index - (entries >> 2)) & (size - 1);
  const { VIRTQ_DESC: D, VIRTQ_DESC_SIZE, VIRTQ_USED_ELEM: E, VIRTQ_USED_ELEM_SIZE } = split;
  const table = window(queue, descriptorArea, VIRTQ_DESC_SIZE, first, entries);
  const heads = window(queue, driverArea + split.VIRTQ_AVAIL.ring, 2, first, entries);
  const elements = window(queue, deviceArea + split.VIRTQ_USED.ring, VIRTQ_USED_ELEM_SIZE, first, entries);
  const available = at(queue, driverArea, split.VIRTQ_AVAIL.ring);
  const used = at(queue, deviceArea, split.VIRTQ_USED.ring);
  const usedEvent = (): number => at(queue, driverArea + split.usedEventOffset(size), 2).getUint16(0, true);
  const availEvent = (): number => at(queue, deviceArea + split.availEventOffset(size), 2).getUint16(0, true);
  return {
    layout: 'split',
    size,
    first,
    entries,
    descriptors: each(entries, VIRTQ_DESC_SIZE, (d) => [
      address(table, d + D.addr),
      table.getUint32(d + D.len, true),
      table.getUint16(d + D.flags, true),
      table.getUint16(d + D.next, true),
    ]),
    available: {
      flags: available.getUint16(split.VIRTQ_AVAIL.flags, true),
      index: available.getUint16(split.VIRTQ_AVAIL.idx, true),
      next: base & 0xffff,
      ring: each(entries, 2, (slot) => heads.getUint16(slot, true)),
      ...(eventIdx && { usedEvent: usedEvent() }),
    },
    used: {
      flags: used.getUint16(split.VIRTQ_USED.flags, true),
      index: used.getUint16(split.VIRTQ_USED.idx, true),
      ring: each(entries, VIRTQ_USED_ELEM_SIZE, (e) => [
        elements.getUint32(e + E.id, true),
        elements.getUint32(e + E.len, true),
      ]),
      ...(eventIdx && { availEvent: availEvent() }),
    },
  };
}

function lookAtPacked(queue: DeviceQueueOptions, base: number, most: number): PackedLook {
  const { size, descriptorArea, driverArea, deviceArea } = queue;
  const available = new Place(size, base);
  const used = new Place(size, base >>> 16);
  const entries = Math.min(size, most);
  const first = entries === size ? 0 : (used.offset - (entries >> 2) + size) % size;
  const { PVIRTQ_DESC: D, PVIRTQ_DESC_SIZE } = packed;
  const ring = window(queue, descriptorArea, PVIRTQ_DESC_SIZE, first, entries);
  return {
    layout: 'packed',
    size,
    first,
    entries,
    descriptors: each(entries, PVIRTQ_DESC_SIZE, (d) => [
      address(ring, d + D.addr),
      ring.getUint32(d + D.len, true),
      ring.getUint16(d + D.id, true),
      ring.getUint16(d + D.flags, true),
    ]),
    available: { offset: available.offset, wrap: available.wrap },
    used: { offset: used.offset, wrap: used.wrap },
    driverEvent: eventAt(queue, driverArea),
    deviceEvent: eventAt(queue, deviceArea),
  };
}

function eventAt(queue: DeviceQueueOptions, area: number): EventLook {
  const bytes = at(queue, area, packed.PVIRTQ_EVENT_SUPPRESS_SIZE);
  const desc = bytes.getUint16(packed.PVIRTQ_EVENT_SUPPRESS.desc, true);
  const flags = bytes.getUint16(packed.PVIRTQ_EVENT_SUPPRESS.flags, true) & 3;
  return { offset: desc & 0x7fff, wrap: (desc & 0x8000) !== 0, flags };
}

/** A copy of what lies there. */
function at({ memory }: DeviceQueueOptions, start: number, length: number): DataView {
  const bytes = new Uint8Array(length);
  memory.read(start as GuestAddress, bytes);
  return new DataView(bytes.buffer);
}

/** A copy of some entries of a table that has as many as the ring: it goes on at its start. */
function window(
  { memory, size }: DeviceQueueOptions,
  table: number,
  entrySize: number,
  first: number,
  entries: number,
): DataView {
  const bytes = new Uint8Array(entrySize * entries);
  const upper = entrySize * Math.min(entries, size - first);
  memory.read((table + entrySize * first) as GuestAddress, bytes, 0, upper);
  if (upper < bytes.length) memory.read(table as GuestAddress, bytes, upper, bytes.length - upper);
  return new DataView(bytes.buffer);
}

/** @param make - of the entry at this offset. */
function each<T>(entries: number, entrySize: number, make: (offset: number) => T): T[] {
  return Array.from({ length: entries }, (_, i) => make(entrySize * i));
}

/** Exact up to 2^53. */
function address(bytes: DataView, offset: number): number {
  return bytes.getUint32(offset + 4, true) * 2 ** 32 + bytes.getUint32(offset, true);
}
