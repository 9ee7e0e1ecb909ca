import type { KeptItem, Notes } from '../../keep.js';
import type { InflightKeys } from '../../kept-inflight.js';
import { Decoder, encodeMessage, type Message } from '../codec.js';
import { REQUEST, VRING_FD } from '../messages.js';
import { decodeRegion, decodeVringState, encodeU64, encodeVringState } from '../payloads.js';
import { decodeSharedMapping } from '../shared-memory.js';
import type { RingStop } from './ring.js';

/*
 * What a session in the next process must be told of what was said to this one: the messages themselves, those that count. Told them again, in
 * the order of RANKS, it is where this one was.
 */

/** The bytes of the configuration space. */
export const CONFIG = 'config';
/** A reset that was put off. */
export const PENDING = 'pending';

/** The beginnings of keys, in the order in which what they keep is told again. */
const RANKS = [
  'protocol',
  'features',
  'memory/',
  'log/',
  'inflight',
  'backend',
  'status',
  CONFIG,
  'ring/',
] as const;
const LIVE = 'live';
const RING_RANKS = [
  'num',
  'address',
  'base',
  'standing',
  'err',
  'call',
  'enable',
  'kick',
  'started',
  LIVE,
] as const;

/**
 * What is to be kept of a request that was carried out.
 *
 * @param refused - it was not, or not to its end: a ring that can't be served may be started all the same.
 */
export function notesOf({ request, payload }: Message, refused: boolean): Notes {
  if (refused && request !== REQUEST.SET_VRING_KICK && request !== REQUEST.SET_VRING_ENABLE) return {};
  switch (request) {
    case REQUEST.SET_FEATURES:
      return { keep: 'features' };
    case REQUEST.SET_PROTOCOL_FEATURES:
      return { keep: 'protocol' };
    case REQUEST.SET_BACKEND_REQ_FD:
      return { keep: 'backend' };
    case REQUEST.SET_MEM_TABLE:
      return { drop: ['memory/*'], keep: 'memory/table' };
    case REQUEST.ADD_MEM_REG:
      return { keep: `memory/add ${regionKey(payload)}` };
    case REQUEST.REM_MEM_REG:
      // It may be one of the table.
      return { drop: [`memory/add ${regionKey(payload)}`], keep: `memory/remove ${regionKey(payload)}` };
    case REQUEST.SET_INFLIGHT_FD:
      return { keep: 'inflight' };
    case REQUEST.SET_LOG_BASE:
      return { keep: 'log/base' };
    case REQUEST.SET_LOG_FD:
      return { keep: 'log/event' };
    case REQUEST.SET_VRING_NUM:
      return { keep: ringKey(payload, 'num') };
    case REQUEST.SET_VRING_ADDR:
      return { keep: ringKey(payload, 'address') };
    case REQUEST.SET_VRING_BASE:
      return { keep: ringKey(payload, 'base') };
    case REQUEST.SET_VRING_ENABLE:
      return { keep: ringKey(payload, 'enable') };
    case REQUEST.SET_VRING_KICK:
      return { keep: eventKey(payload, 'kick') };
    case REQUEST.VRING_KICK:
      // It starts a ring that has no event.
      return { keep: ringKey(payload, 'started') };
    case REQUEST.SET_VRING_CALL:
      return { keep: eventKey(payload, 'call') };
    case REQUEST.SET_VRING_ERR:
      return { keep: eventKey(payload, 'err') };
    case REQUEST.RESET_OWNER:
      return { drop: ['ring/*/enable'] };
    case REQUEST.SET_STATUS:
      return payload.getBigUint64(0, true) === 0n ? RESET : { keep: 'status' };
    case REQUEST.RESET_DEVICE:
      return RESET;
    default:
      return {};
  }
}

/** A reset leaves a ring's size, its addresses, and its events for the front-end. */
const RESET: Notes = { drop: ['status', 'ring/*/base', 'ring/*/enable', 'ring/*/kick', 'ring/*/started'] };

/** What is to be kept of a ring that stopped at `base`. */
export function stoppedNotes(index: number, base: number): Notes {
  const state = encodeVringState({ index, num: base });
  const bytes = encodeMessage(REQUEST.SET_VRING_BASE, 0, state);
  return {
    drop: [`ring/${index}/kick`, `ring/${index}/started`],
    put: [{ key: `ring/${index}/base`, bytes }],
  };
}

/** A ring that stands still, and where; or, without that, does so no more. */
export function standingNotes(index: number, stop: RingStop | undefined): Notes {
  const key = `ring/${index}/standing`;
  if (stop === undefined) return { drop: [key] };
  return { put: [{ key, bytes: new TextEncoder().encode(JSON.stringify(stop)) }] };
}

/** Which ring an item says stands still, and where; `undefined` for another item. */
export function standingRing({ key, bytes }: KeptItem): { index: number; stop: RingStop } | undefined {
  const [room, index, what] = key.split('/');
  if (room !== 'ring' || what !== 'standing') return undefined;
  return { index: Number(index), stop: JSON.parse(new TextDecoder().decode(bytes)) as RingStop };
}

/** Where it is kept what is in flight on a ring, if the front-end does not keep it. */
export const INFLIGHT_KEYS: InflightKeys = {
  keyOf: (index) => `ring/${index}/inflight`,
  queueOf: ({ key }) => {
    const [room, index, what] = key.split('/');
    return room === 'ring' && what === 'inflight' ? Number(index) : undefined;
  },
};

/** A ring that a queue is over, be it disabled; or is no more. */
export function liveNotes(index: number, live: boolean): Notes {
  const key = `ring/${index}/${LIVE}`;
  // A message that does nothing, for a process of a version that does not know of this.
  return live ? { put: [{ key, bytes: encodeMessage(REQUEST.SET_OWNER, 0) }] } : { drop: [key] };
}

/** The ring that an item says a queue was over; `undefined` for another item. */
export function liveRing({ key }: KeptItem): number | undefined {
  const [room, index, what] = key.split('/');
  return room === 'ring' && what === LIVE ? Number(index) : undefined;
}

/** A device status of 0 was said, and the device is not reset yet; or is, or need not be. */
export function pendingNotes(pending: boolean): Notes {
  if (!pending) return { drop: [PENDING] };
  return { put: [{ key: PENDING, bytes: encodeMessage(REQUEST.SET_STATUS, 0, encodeU64(0n)) }] };
}

/** The memory of a shared memory region. @param fd - of the memory. */
export function memoryNotes(id: number, fd: number): Notes {
  // One to map, and one to hand on.
  return { put: [{ key: `shared/${id}`, bytes: new Uint8Array(), fds: [fd, fd] }] };
}

/** A file in a shared memory region. @param payload - of the SHMEM_MAP or SHMEM_UNMAP that says so. @param mapped - or no longer. */
export function fileNotes(payload: Uint8Array, mapped: boolean): Notes {
  const { id, offset } = decodeSharedMapping(
    new DataView(payload.buffer, payload.byteOffset, payload.byteLength),
  )!;
  const key = `mapped/${id}/${offset}`;
  return mapped ? { put: [{ key, bytes: payload }] } : { drop: [key] };
}

/** No file is in any shared memory region. */
export function noFilesNotes(): Notes {
  return { drop: ['mapped/*'] };
}

/** The shared memory region whose memory an item is; `undefined` for another item. */
export function sharedMemoryOf({ key }: KeptItem): number | undefined {
  return key.startsWith('shared/') ? Number(key.slice('shared/'.length)) : undefined;
}

/** Whether an item is a file in a shared memory region. */
export function isSharedFile({ key }: KeptItem): boolean {
  return key.startsWith('mapped/');
}

/** What is kept, in the order in which it is to be told again. */
export function ordered(kept: readonly KeptItem[]): KeptItem[] {
  const rank = ({ key }: KeptItem): number => {
    const first = RANKS.findIndex((each) => key.startsWith(each));
    const second = RING_RANKS.findIndex((each) => key.endsWith(`/${each}`));
    return first * RING_RANKS.length + Math.max(0, second);
  };
  return [...kept].sort((a, b) => rank(a) - rank(b));
}

/** The message that is kept in an item. */
export function messageOf({ bytes, fds }: KeptItem): Message {
  const decoder = new Decoder();
  decoder.push(bytes, fds);
  return decoder.next()!;
}

function regionKey(payload: DataView): string {
  const { guestAddress, size, userAddress } = decodeRegion(payload);
  return `${guestAddress}+${size}@${userAddress}`;
}

function ringKey(payload: DataView, what: (typeof RING_RANKS)[number]): string {
  return `ring/${decodeVringState(payload).index}/${what}`;
}

function eventKey(payload: DataView, what: (typeof RING_RANKS)[number]): string {
  return `ring/${Number(payload.getBigUint64(0, true) & BigInt(VRING_FD.INDEX_MASK))}/${what}`;
}
