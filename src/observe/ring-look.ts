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

/** The bytes of a ring, or of some of its entries, as they lie in memory; `lookOf` says what they mean. */
export interface RingCopy extends RingWindow {
  readonly packed: boolean;
  /** Of a split ring: it has event indices. */
  readonly eventIdx: boolean;
  /** Where its device goes on. */
  readonly base: number;
  /** Split: descriptors, available entries, used entries, both headers, both event indices. Packed: descriptors, both event suppression areas. */
  readonly bytes: Uint8Array;
}

/** Bytes of both headers of a split ring (flags and index), and of both event indices. */
const HEADERS = 4;
const EVENTS = 2;

/**
 * Copies a ring: a moment's work for who has other things to do.
 *
 * @param base - of the ring: where its device goes on.
 * @param most - entries to look at, at most; around where something happens.
 * @throws MemoryError when it is not there.
 */
export function copyRing(queue: DeviceQueueOptions, isPacked: boolean, base: number, most: number): RingCopy {
  return isPacked ? copyPacked(queue, base, most) : copySplit(queue, base, most);
}

/** What a copy says. */
export function lookOf(copy: RingCopy): RingLook {
  return copy.packed ? lookAtPacked(copy) : lookAtSplit(copy);
}

function copySplit(queue: DeviceQueueOptions, base: number, most: number): RingCopy {
  const { size, descriptorArea, driverArea, deviceArea, eventIdx } = queue;
  const { VIRTQ_DESC_SIZE: DESC, VIRTQ_USED_ELEM_SIZE: ELEM, VIRTQ_AVAIL, VIRTQ_USED } = split;
  const entries = Math.min(size, most);
  const bytes = new Uint8Array(entries * (DESC + 2 + ELEM) + 2 * HEADERS + 2 * EVENTS);
  const headers = entries * (DESC + 2 + ELEM);
  read(queue, driverArea, bytes, headers, HEADERS);
  read(queue, deviceArea, bytes, headers + HEADERS, HEADERS);
  const index = new DataView(bytes.buffer).getUint16(headers + HEADERS + VIRTQ_USED.idx, true);
  const first = entries === size ? 0 : (index - (entries >> 2)) & (size - 1);
  const part = { size, first, entries };
  readWindow(queue, descriptorArea, DESC, part, bytes, 0);
  readWindow(queue, driverArea + VIRTQ_AVAIL.ring, 2, part, bytes, entries * DESC);
  readWindow(queue, deviceArea + VIRTQ_USED.ring, ELEM, part, bytes, entries * (DESC + 2));
  if (eventIdx) {
    const events = headers + 2 * HEADERS;
    read(queue, driverArea + split.usedEventOffset(size), bytes, events, EVENTS);
    read(queue, deviceArea + split.availEventOffset(size), bytes, events + EVENTS, EVENTS);
  }
  return { ...part, packed: false, eventIdx, base, bytes };
}

function copyPacked(queue: DeviceQueueOptions, base: number, most: number): RingCopy {
  const { size, descriptorArea, driverArea, deviceArea, eventIdx } = queue;
  const { PVIRTQ_DESC_SIZE: DESC, PVIRTQ_EVENT_SUPPRESS_SIZE: EVENT } = packed;
  const used = new Place(size, base >>> 16);
  const entries = Math.min(size, most);
  const first = entries === size ? 0 : (used.offset - (entries >> 2) + size) % size;
  const bytes = new Uint8Array(entries * DESC + 2 * EVENT);
  const part = { size, first, entries };
  readWindow(queue, descriptorArea, DESC, part, bytes, 0);
  read(queue, driverArea, bytes, entries * DESC, EVENT);
  read(queue, deviceArea, bytes, entries * DESC + EVENT, EVENT);
  return { ...part, packed: true, eventIdx, base, bytes };
}

function lookAtSplit({ size, first, entries, eventIdx, base, bytes }: RingCopy): SplitLook {
  const { VIRTQ_DESC: D, VIRTQ_DESC_SIZE, VIRTQ_USED_ELEM: E, VIRTQ_USED_ELEM_SIZE } = split;
  const { VIRTQ_AVAIL, VIRTQ_USED } = split;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const heads = entries * VIRTQ_DESC_SIZE;
  const elements = heads + 2 * entries;
  const available = elements + entries * VIRTQ_USED_ELEM_SIZE;
  const used = available + HEADERS;
  const events = used + HEADERS;
  const u16 = (at: number): number => view.getUint16(at, true);
  return {
    layout: 'split',
    size,
    first,
    entries,
    descriptors: each(entries, VIRTQ_DESC_SIZE, (d) => [
      address(view, d + D.addr),
      view.getUint32(d + D.len, true),
      u16(d + D.flags),
      u16(d + D.next),
    ]),
    available: {
      flags: u16(available + VIRTQ_AVAIL.flags),
      index: u16(available + VIRTQ_AVAIL.idx),
      next: base & 0xffff,
      ring: each(entries, 2, (slot) => u16(heads + slot)),
      ...(eventIdx && { usedEvent: u16(events) }),
    },
    used: {
      flags: u16(used + VIRTQ_USED.flags),
      index: u16(used + VIRTQ_USED.idx),
      ring: each(entries, VIRTQ_USED_ELEM_SIZE, (e) => [
        view.getUint32(elements + e + E.id, true),
        view.getUint32(elements + e + E.len, true),
      ]),
      ...(eventIdx && { availEvent: u16(events + EVENTS) }),
    },
  };
}

function lookAtPacked({ size, first, entries, base, bytes }: RingCopy): PackedLook {
  const { PVIRTQ_DESC: D, PVIRTQ_DESC_SIZE, PVIRTQ_EVENT_SUPPRESS_SIZE } = packed;
  const available = new Place(size, base);
  const used = new Place(size, base >>> 16);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const events = entries * PVIRTQ_DESC_SIZE;
  return {
    layout: 'packed',
    size,
    first,
    entries,
    descriptors: each(entries, PVIRTQ_DESC_SIZE, (d) => [
      address(view, d + D.addr),
      view.getUint32(d + D.len, true),
      view.getUint16(d + D.id, true),
      view.getUint16(d + D.flags, true),
    ]),
    available: { offset: available.offset, wrap: available.wrap },
    used: { offset: used.offset, wrap: used.wrap },
    driverEvent: eventAt(view, events),
    deviceEvent: eventAt(view, events + PVIRTQ_EVENT_SUPPRESS_SIZE),
  };
}

function eventAt(view: DataView, area: number): EventLook {
  const desc = view.getUint16(area + packed.PVIRTQ_EVENT_SUPPRESS.desc, true);
  const flags = view.getUint16(area + packed.PVIRTQ_EVENT_SUPPRESS.flags, true) & 3;
  return { offset: desc & 0x7fff, wrap: (desc & 0x8000) !== 0, flags };
}

function read({ memory }: DeviceQueueOptions, from: number, to: Uint8Array, at: number, size: number): void {
  memory.read(from as GuestAddress, to, at, size);
}

/** Some entries of a table that has as many as the ring: it goes on at its start. */
function readWindow(
  queue: DeviceQueueOptions,
  table: number,
  entrySize: number,
  { size, first, entries }: RingWindow,
  to: Uint8Array,
  at: number,
): void {
  const upper = entrySize * Math.min(entries, size - first);
  read(queue, table + entrySize * first, to, at, upper);
  const lower = entrySize * entries - upper;
  if (lower > 0) read(queue, table, to, at + upper, lower);
}

/** @param make - of the entry at this offset. */
function each<T>(entries: number, entrySize: number, make: (offset: number) => T): T[] {
  return Array.from({ length: entries }, (_, i) => make(entrySize * i));
}

/** Exact up to 2^53. */
function address(bytes: DataView, offset: number): number {
  return bytes.getUint32(offset + 4, true) * 2 ** 32 + bytes.getUint32(offset, true);
}
