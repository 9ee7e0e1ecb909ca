import type { KeptItem, Notes } from '../../keep.js';
import type { InflightKeys } from '../../kept-inflight.js';
import { decodeDmaMap, decodeDmaUnmap } from '../codec.js';
import { decodeFeature } from '../feature-codec.js';
import { Framing, type Message } from '../framing.js';
import * as wire from '../messages.js';

/*
 * What a session in the next process must have of this one: messages of the client's where one stands for itself (VERSION, DMA_MAP), and what many
 * messages led to where that is less: the state of the function, the eventfd of each interrupt.
 */

/** A message that was answered, and is not carried out to its end; then this is forgotten. Carried out twice it does the same. */
export const PENDING = 'pending';
/** The state of the function, as `VirtioPciFunction.keep` has it. */
export const FUNCTION = 'function';
export const VERSION = 'version';
export const DOORBELLS = 'doorbells';
/** Dirty pages are logged. */
export const LOGGING = 'logging';
export const MIGRATION = 'migration';
/** Ids of messages of ours that may be under way: those below this one. */
const IDS = 'ids';
/** The memory of the shared memory regions. */
export const SHARED = 'shared';
const INFLIGHT = 'inflight/';
const DMA = 'dma/';
const IRQ = 'irq/';

/** What is to be kept of a command that was obeyed. */
export function notesOf({ command, payload }: Message): Notes {
  switch (command) {
    case wire.VFIO_USER_VERSION:
      return { keep: VERSION };
    case wire.VFIO_USER_DMA_MAP: {
      const { address, size } = decodeDmaMap(payload);
      return { keep: `${DMA}${address}+${size}` };
    }
    case wire.VFIO_USER_DMA_UNMAP: {
      const { flags, address, size } = decodeDmaUnmap(payload);
      const all = flags === wire.VFIO_DMA_UNMAP_FLAG_ALL;
      return { drop: [all ? `${DMA}*` : `${DMA}${address}+${size}`] };
    }
    case wire.VFIO_USER_DEVICE_FEATURE: {
      const { feature, operations } = decodeFeature(payload);
      if ((operations & wire.VFIO_DEVICE_FEATURE_PROBE) !== 0) return {};
      if (feature === wire.VFIO_DEVICE_FEATURE_DMA_LOGGING_START)
        return { put: [{ key: LOGGING, bytes: new Uint8Array() }] };
      if (feature === wire.VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP) return { drop: [LOGGING] };
      return {};
    }
    default:
      return {};
  }
}

/** Where it is kept what is in flight. */
export const INFLIGHT_KEYS: InflightKeys = {
  keyOf: (queue) => INFLIGHT + queue,
  queueOf: ({ key }) => (key.startsWith(INFLIGHT) ? Number(key.slice(INFLIGHT.length)) : undefined),
};

/** What one interrupt has: eventfds, and whether the client masks it. */
export type IrqSlot = 'trigger' | 'mask' | 'unmask' | 'masked';

export function irqKey(index: number, i: number | '*', slot: IrqSlot | '' = ''): string {
  return i === '*' ? `${IRQ}${index}/*` : `${IRQ}${index}/${i}/${slot}`;
}

/** The interrupt that an item is of; `undefined` for another item. */
export function irqOf({ key }: KeptItem): { index: number; i: number; slot: IrqSlot } | undefined {
  if (!key.startsWith(IRQ)) return undefined;
  const [, index, i, slot] = key.split('/');
  return { index: Number(index), i: Number(i), slot: slot as IrqSlot };
}

export function isDmaMap({ key }: KeptItem): boolean {
  return key.startsWith(DMA);
}

/** The message that is kept in an item. */
export function messageOf({ bytes, fds }: KeptItem): Message {
  let message: Message | undefined;
  new Framing().push(
    bytes,
    fds,
    (whole) => {
      message = whole;
    },
    () => {},
  );
  return message!;
}

/** Several as one, of which one alone may keep the message. */
export function together(all: readonly Notes[]): Notes {
  const keep = all.find((notes) => notes.keep !== undefined)?.keep;
  return {
    drop: all.flatMap(({ drop = [] }) => drop),
    ...(keep !== undefined && { keep }),
    put: all.flatMap(({ put = [] }) => put),
  };
}

/** @param end - ids of messages of ours that may be under way are below this one. */
export function idsNotes(end: number): Notes {
  return { put: [{ key: IDS, bytes: Uint8Array.of(end & 0xff, end >>> 8) }] };
}

/** The first id that no message of an earlier process has. */
export function firstId(kept: readonly KeptItem[]): number {
  const { bytes } = kept.find(({ key }) => key === IDS) ?? { bytes: Uint8Array.of(0, 0) };
  return bytes[0]! | (bytes[1]! << 8);
}
