import type { KeptItem } from '../transports/keep.js';

/*
 * What keeper and worker say to each other, over a pair of sockets: frames of a piece of JSON, bytes, and descriptors. u32 bytes of the JSON,
 * u32 bytes that follow it, both.
 */

/**
 * Of what is said here. A worker may be of another version of this program, and one of another format is not had: the first frame is `ready` or
 * `failed` in every format.
 */
export const FORMAT = 1;

/** The environment variable that tells a worker which descriptor leads to its keeper. */
export const KEEPER_VARIABLE = 'VIRTIO_MISC_KEEPER';

/** The one that tells it from which descriptor it reads what it is given, if that is anything: one frame. */
export const GIVEN_VARIABLE = 'VIRTIO_MISC_GIVEN';

/** What is in that frame: so many bytes of a device's code, which is not to be read from the disk then; all others are a state to go on from. */
export interface Given {
  readonly code: number | undefined;
}

/** What became of code that was loaded anew. */
export type ReloadResult = 'reloaded' | 'refused' | 'failed';

/** The files that a load of a device's code looked at, with the hash of each; `null` for one that was not there. */
export type LookedAt = readonly (readonly [path: string, hash: string | null])[];

/** What a worker may be asked; each is answered once. */
export type Question =
  /** The device, for one in another worker to try (`Session.portray`). Answered with its bytes. */
  | { readonly what: 'portray' }
  /** Whether the device could take the place of that one, whose bytes come along. */
  | { readonly what: 'try'; readonly transport: 'vhost-user' | 'vfio-user' }
  /** Leaves the front-end to another worker, with what is kept (`Session.yield`). Answered with when it began to, in ns of CLOCK_MONOTONIC. */
  | { readonly what: 'yield' }
  /**
   * Loads the device's file anew, or takes the code that comes along, and has the new device take the place of the one that is served, if any is. It
   * says itself what came of that, unless told not to. Answered with the code, unless it failed.
   */
  | { readonly what: 'reload'; readonly quiet: boolean }
  /** The device's state (`Server.save`). Answered with so many bytes of memory, whose descriptor comes along. */
  | { readonly what: 'save'; readonly standing: boolean };

/** What a VMM has to be told of a device; a `VirtioDevice` is one too. */
export interface DeviceOutline {
  readonly id: number;
  readonly name: string;
  readonly queues: readonly { readonly size: number }[];
  /** Bytes of the configuration space. */
  readonly config: { readonly size: number };
}

/** Something that is kept, in a frame with others. */
export interface Part {
  readonly key: string;
  /** Bytes, and descriptors, of the frame's. */
  readonly size: number;
  readonly fds: number;
}

/** A worker's first words, when it can serve a front-end. */
export type Ready = Extract<FromWorker, { say: 'ready' }>;

/** What a keeper tells a worker. */
export type FromKeeper =
  /** A front-end came, or another worker died over it; with its socket. What is kept of it follows. */
  | {
      readonly say: 'serve';
      readonly transport: 'vhost-user' | 'vfio-user';
      readonly connection: number;
      /** No driver has started a device here yet: what is to be restored is for this one. */
      readonly first?: boolean;
    }
  /** Some of what is kept; with the bytes of each, one after the other, and the descriptors likewise. */
  | { readonly say: 'kept'; readonly items: readonly Part[] }
  /** That was all: serve it. */
  | { readonly say: 'go' }
  /** One `settle` was carried out. */
  | { readonly say: 'settled' }
  /** Are you there? */
  | { readonly say: 'ping' }
  | { readonly say: 'ask'; readonly number: number; readonly question: Question };

/** What a worker tells its keeper. */
export type FromWorker =
  /** It can serve a front-end; `name` is the device's. Its code comes along, where that is a file. One of an older version does not say more. */
  | {
      readonly say: 'ready';
      readonly name: string;
      readonly format: number;
      readonly pid?: number;
      readonly device?: DeviceOutline;
      readonly files?: LookedAt;
    }
  /** It can't, and ends. */
  | { readonly say: 'failed'; readonly why: string }
  /** A driver has started its device, the first. */
  | { readonly say: 'started' }
  /** It has taken up a front-end where the worker before was, at that time, in ns of CLOCK_MONOTONIC. */
  | { readonly say: 'serving'; readonly at: number }
  /** `refused` says why nothing came of it. */
  | {
      readonly say: 'answer';
      readonly number: number;
      readonly refused?: string;
      readonly at?: number;
      readonly size?: number;
      readonly result?: ReloadResult;
      readonly files?: LookedAt;
    }
  /** So many bytes of the front-end's are dealt with; with those of `put` one after the other, then those to send to it, and their descriptors. */
  | {
      readonly say: 'settle';
      readonly size: number;
      readonly drop: readonly string[];
      readonly keep?: string;
      readonly put: readonly Part[];
    }
  /** The front-end is gone, or to be let go; `error` says how it broke the protocol. */
  | { readonly say: 'over'; readonly error?: string }
  | { readonly say: 'pong' };

/** One frame, as it came. */
export interface Frame<Body> {
  readonly body: Body;
  readonly bytes: Uint8Array;
  /** The taker's. */
  readonly fds: number[];
}

const HEADER = 8;
const NOTHING = new Uint8Array();

export function encodeFrame<Body = FromKeeper | FromWorker>(
  body: Body,
  bytes: Uint8Array = NOTHING,
): Uint8Array {
  const text = new TextEncoder().encode(JSON.stringify(body));
  const frame = new Uint8Array(HEADER + text.length + bytes.length);
  const header = new DataView(frame.buffer);
  header.setUint32(0, text.length, true);
  header.setUint32(4, bytes.length, true);
  frame.set(text, HEADER);
  frame.set(bytes, HEADER + text.length);
  return frame;
}

/** Makes frames of a stream of bytes and descriptors; one that never becomes whole is none. */
export class FrameDecoder<Body> {
  #pending: Uint8Array = NOTHING;
  #fds: number[] = [];

  /** Takes what arrived (see `ChannelHandler.received`). @returns the frames that are whole now. */
  push(bytes: Uint8Array, fds: readonly number[]): Frame<Body>[] {
    const begun = this.#pending.length;
    const all = new Uint8Array(begun + bytes.length);
    all.set(this.#pending);
    all.set(bytes, begun);
    const frames: Frame<Body>[] = [];
    let owner = this.#fds;
    let at = 0;
    while (at < all.length) {
      // Descriptors come with a frame's first byte, and are those of the last one that begins here.
      if (at >= begun) owner = [];
      const size = sizeOf(all, at);
      if (size === undefined || at + size > all.length) break;
      frames.push(frameOf(all.subarray(at, at + size), owner));
      at += size;
    }
    owner.push(...fds);
    this.#pending = all.slice(at);
    this.#fds = at < all.length ? owner : [];
    return frames;
  }

  /** Descriptors of a frame that never became whole. */
  abandon(): readonly number[] {
    this.#pending = NOTHING;
    return this.#fds.splice(0);
  }
}

function sizeOf(bytes: Uint8Array, at: number): number | undefined {
  if (bytes.length - at < HEADER) return undefined;
  const header = new DataView(bytes.buffer, bytes.byteOffset + at);
  return HEADER + header.getUint32(0, true) + header.getUint32(4, true);
}

function frameOf<Body>(bytes: Uint8Array, fds: number[]): Frame<Body> {
  const text = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const body = JSON.parse(new TextDecoder().decode(bytes.subarray(HEADER, HEADER + text))) as Body;
  return { body, bytes: bytes.slice(HEADER + text), fds };
}

/** The things that are kept in a frame, and what is left of its bytes; its descriptors are taken. */
export function partsOf(
  { bytes, fds }: Frame<unknown>,
  parts: readonly Part[],
): [items: KeptItem[], rest: Uint8Array] {
  let at = 0;
  const items = parts.map(({ key, size, fds: count }) => {
    const from = at;
    at += size;
    return { key, bytes: bytes.slice(from, at), fds: fds.splice(0, count) };
  });
  return [items, bytes.subarray(at)];
}

/** Pieces of bytes as one. */
export function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}
