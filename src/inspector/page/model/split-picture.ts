import {
  VIRTQ_AVAIL_F_NO_INTERRUPT,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
  VIRTQ_USED_F_NO_NOTIFY,
} from '../../../virtqueue/split/layout.js';
import type { QueueState, SplitSample } from '../../protocol.js';
import { addressText, countText } from '../text/count.js';
import { AFTERGLOW, type Area, type Cell, type CellState, type Marker } from './cell.js';

/** The three areas of a split ring, as they lie in memory (VIRTIO 1.3 §2.7). */
export function splitPicture(sample: SplitSample, areas: QueueState['areas']): Area[] {
  return [
    descriptors(sample, areas?.descriptor),
    available(sample, areas?.driver),
    used(sample, areas?.device),
  ];
}

interface Owner {
  readonly state: CellState;
  readonly head: number;
  readonly fresh: number;
}

/** How far `to` is behind `from`, of 16-bit indices. */
function ahead(from: number, to: number): number {
  return (to - from) & 0xffff;
}

/** Where slot `index` of the ring is in the sample; -1 where it is not in it. */
function placeOf({ size, first, entries }: SplitSample, index: number): number {
  const place = (((index - first) % size) + size) % size;
  return place < entries ? place : -1;
}

/** Whose each descriptor is: chains are followed from the heads that the rings name. */
function owners(sample: SplitSample): Map<number, Owner> {
  const { size, available, used, inFlight } = sample;
  const map = new Map<number, Owner>();
  const follow = (head: number, state: CellState, fresh: number): void => {
    let at = head;
    for (let i = 0; i < size && !map.has(at); i++) {
      const place = at < size ? placeOf(sample, at) : -1;
      if (place < 0) return;
      map.set(at, { state, head, fresh });
      const [, , flags, next] = sample.descriptors[place]!;
      if ((flags & VIRTQ_DESC_F_NEXT) === 0) return;
      at = next;
    }
  };
  for (const { head } of inFlight) follow(head, 'taken', 1);
  const waiting = Math.min(size, ahead(available.next, available.index));
  for (let i = 0; i < waiting; i++) {
    const head = available.ring[placeOf(sample, (available.next + i) % size)];
    if (head !== undefined) follow(head, 'available', 1);
  }
  for (let i = 1; i <= Math.min(AFTERGLOW, size); i++) {
    const entry = used.ring[placeOf(sample, ((used.index - i) & 0xffff) % size)];
    if (entry !== undefined && (entry[0] !== 0 || entry[1] !== 0 || i <= used.index))
      follow(entry[0], 'used', 1 - (i - 1) / AFTERGLOW);
  }
  return map;
}

function descriptors(sample: SplitSample, address: number | undefined): Area {
  const owner = owners(sample);
  const cells = sample.descriptors.map(([at, length, flags, next], i): Cell => {
    const slot = (sample.first + i) % sample.size;
    const whose = owner.get(slot);
    const goesOn = (flags & VIRTQ_DESC_F_NEXT) !== 0;
    const writable = (flags & VIRTQ_DESC_F_WRITE) !== 0;
    const indirect = (flags & VIRTQ_DESC_F_INDIRECT) !== 0;
    const names = [goesOn && 'NEXT', writable && 'WRITE', indirect && 'INDIRECT'].filter(Boolean);
    return {
      slot,
      state: whose?.state ?? 'free',
      fresh: whose?.fresh ?? 0,
      text: String(slot),
      ...(whose !== undefined && { chain: whose.head }),
      joined: whose !== undefined && goesOn && next === slot + 1,
      writable,
      indirect,
      title: `descriptor ${slot}: ${countText(length)} B at ${addressText(at)}${names.length > 0 ? `, ${names.join(' ')}` : ''}${goesOn ? `, next ${next}` : ''}`,
    };
  });
  return { name: 'Descriptor table', address, numbers: [], cells, markers: [] };
}

function available(sample: SplitSample, address: number | undefined): Area {
  const { size, available: ring, used: other, inFlight } = sample;
  const waiting = Math.min(size, ahead(ring.next, ring.index));
  const taken = lastPlaces(sample, new Set(inFlight.map(({ head }) => head)));
  const cells = ring.ring.map((head, i): Cell => {
    const slot = (sample.first + i) % size;
    const place = ahead(ring.next % size, slot + size) % size;
    const waits = place < waiting;
    const state = waits ? 'available' : taken.has(slot) ? 'taken' : 'free';
    return {
      slot,
      state,
      fresh: 1,
      text: String(head),
      ...(state !== 'free' && { chain: head }),
      joined: false,
      title: `available[${slot}] = ${head}`,
    };
  });
  const markers: Marker[] = [
    { slot: ring.index % size, kind: 'driver', title: 'idx: where the driver puts the next one' },
    { slot: ring.next % size, kind: 'device', title: 'where the device takes the next one' },
  ];
  const numbers: Area['numbers'][number][] = [
    { name: 'idx', value: String(ring.index), kind: 'driver' },
    { name: 'device at', value: String(ring.next), kind: 'device' },
  ];
  if (other.availEvent !== undefined) {
    markers.push({
      slot: other.availEvent % size,
      kind: 'event',
      title: 'avail_event: a kick after this one',
    });
    numbers.push({ name: 'avail_event', value: String(other.availEvent), kind: 'event' });
  } else if ((other.flags & VIRTQ_USED_F_NO_NOTIFY) !== 0)
    numbers.push({ name: 'flags', value: 'NO_NOTIFY' });
  return { name: 'Available ring', address, numbers, cells, markers };
}

/** The slots from which these heads were taken: where each was last. */
function lastPlaces(sample: SplitSample, heads: Set<number>): Set<number> {
  const { size, available: ring } = sample;
  const slots = new Set<number>();
  for (let i = 1; i <= size && heads.size > 0; i++) {
    const slot = (ring.next + 65_536 - i) % size;
    const head = ring.ring[placeOf(sample, slot)];
    if (head !== undefined && heads.delete(head)) slots.add(slot);
  }
  return slots;
}

function used(sample: SplitSample, address: number | undefined): Area {
  const { size, used: ring, available: other } = sample;
  const cells = ring.ring.map(([id, length], i): Cell => {
    const slot = (sample.first + i) % size;
    const age = ahead(slot, (ring.index % size) + size - 1) % size;
    const real = age < AFTERGLOW && age < size && (id !== 0 || length !== 0 || age < ring.index);
    return {
      slot,
      state: real ? 'used' : 'free',
      fresh: real ? 1 - age / AFTERGLOW : 0,
      text: String(id),
      ...(real && { chain: id }),
      joined: false,
      title: `used[${slot}] = id ${id}, ${countText(length)} B written`,
    };
  });
  const markers: Marker[] = [
    { slot: ring.index % size, kind: 'device', title: 'idx: where the device puts the next one' },
  ];
  const numbers: Area['numbers'][number][] = [{ name: 'idx', value: String(ring.index), kind: 'device' }];
  if (other.usedEvent !== undefined) {
    markers.push({
      slot: other.usedEvent % size,
      kind: 'event',
      title: 'used_event: an interrupt after this one',
    });
    numbers.push({ name: 'used_event', value: String(other.usedEvent), kind: 'event' });
  } else if ((other.flags & VIRTQ_AVAIL_F_NO_INTERRUPT) !== 0)
    numbers.push({ name: 'flags', value: 'NO_INTERRUPT' });
  return { name: 'Used ring', address, numbers, cells, markers };
}
