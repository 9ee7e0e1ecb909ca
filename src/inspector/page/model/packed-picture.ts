import {
  RING_EVENT_FLAGS_DESC,
  RING_EVENT_FLAGS_DISABLE,
  VIRTQ_DESC_F_AVAIL,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_USED,
  VIRTQ_DESC_F_WRITE,
} from '../../../virtqueue/packed/layout.js';
import type { PackedSample, QueueState } from '../../protocol.js';
import { addressText, countText } from '../text/count.js';
import { AFTERGLOW, type Area, type Cell, type CellState, type Marker } from './cell.js';

/** The one ring of a packed queue as it lies in memory, and what both sides want to be told of (VIRTIO 1.3 §2.8). */
export function packedPicture(sample: PackedSample, areas: QueueState['areas']): Area[] {
  const { size, available, used, driverEvent, deviceEvent } = sample;
  const cells = sample.descriptors.map(([address, length, id, flags], i): Cell => {
    const slot = (sample.first + i) % size;
    const { state, fresh } = stateOf(sample, slot, flags);
    const writable = (flags & VIRTQ_DESC_F_WRITE) !== 0;
    const indirect = (flags & VIRTQ_DESC_F_INDIRECT) !== 0;
    const goesOn = (flags & VIRTQ_DESC_F_NEXT) !== 0;
    return {
      slot,
      state,
      fresh,
      text: String(id),
      ...(state !== 'free' && { chain: id }),
      joined: goesOn && (state === 'available' || state === 'taken'),
      writable,
      indirect,
      title: `slot ${slot}: id ${id}, ${countText(length)} B at ${addressText(address)}, ${flagsText(flags)}`,
    };
  });
  const markers: Marker[] = [
    { slot: available.offset, kind: 'driver', title: 'where the device takes the next one' },
    { slot: used.offset, kind: 'device', title: 'where the device puts the next used one' },
  ];
  for (const [event, whose] of [
    [driverEvent, 'an interrupt after this one'],
    [deviceEvent, 'a kick after this one'],
  ] as const)
    if (event.flags === RING_EVENT_FLAGS_DESC && event.offset < size)
      markers.push({ slot: event.offset, kind: 'event', title: whose });
  return [
    {
      name: 'Descriptor ring',
      address: areas?.descriptor,
      numbers: [
        { name: 'next available', value: placeText(available), kind: 'driver' },
        { name: 'next used', value: placeText(used), kind: 'device' },
        { name: 'kick', value: eventText(deviceEvent), kind: 'event' },
        { name: 'interrupt', value: eventText(driverEvent), kind: 'event' },
      ],
      cells,
      markers,
    },
  ];
}

/** A place and its wrap counter. */
function placeText({ offset, wrap }: { offset: number; wrap: boolean }): string {
  return `${offset} wrap ${wrap ? 1 : 0}`;
}

function eventText(event: PackedSample['driverEvent']): string {
  if (event.flags === RING_EVENT_FLAGS_DISABLE) return 'never';
  return event.flags === RING_EVENT_FLAGS_DESC ? `at ${placeText(event)}` : 'always';
}

function flagsText(flags: number): string {
  const names = [
    (flags & VIRTQ_DESC_F_NEXT) !== 0 && 'NEXT',
    (flags & VIRTQ_DESC_F_WRITE) !== 0 && 'WRITE',
    (flags & VIRTQ_DESC_F_INDIRECT) !== 0 && 'INDIRECT',
    `AVAIL ${(flags & VIRTQ_DESC_F_AVAIL) !== 0 ? 1 : 0}`,
    `USED ${(flags & VIRTQ_DESC_F_USED) !== 0 ? 1 : 0}`,
  ];
  return names.filter(Boolean).join(' ');
}

/**
 * What the device has lies between its two places, since used elements are written there one after another and go on by the length of their
 * chain (§2.8.7); before them is what was used, behind them what is available as far as the flags say so in the driver's lap (§2.8.1).
 */
function stateOf(sample: PackedSample, slot: number, flags: number): { state: CellState; fresh: number } {
  const { size, available, used } = sample;
  const held = (available.offset - used.offset + size) % size || (available.wrap !== used.wrap ? size : 0);
  if ((slot - used.offset + size) % size < held) return { state: 'taken', fresh: 1 };
  const lap = slot >= available.offset ? available.wrap : !available.wrap;
  const avail = (flags & VIRTQ_DESC_F_AVAIL) !== 0;
  const isUsed = (flags & VIRTQ_DESC_F_USED) !== 0;
  if (avail !== isUsed) return { state: avail === lap ? 'available' : 'free', fresh: 1 };
  const age = (used.offset - 1 - slot + 2 * size) % size;
  // A ring that was never written to is all zeros, as what was used in the second lap.
  const written = slot < used.offset ? avail === used.wrap : avail !== used.wrap;
  const untouched = flags === 0 && used.wrap;
  if (!written || untouched || age >= AFTERGLOW) return { state: 'free', fresh: 0 };
  return { state: 'used', fresh: 1 - age / AFTERGLOW };
}
