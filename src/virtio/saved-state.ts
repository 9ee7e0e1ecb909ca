import { decodeValue, encodeValue } from './value-codec.js';

/** Bytes of a saved state at most: what a peer sends is kept until all of it is there. */
export const STATE_SIZE_MOST: number = 64 << 20;

/** The state's head: what it is, which version, how long its value is, and the check of that. All little-endian. */
const HEAD = { magic: 0, version: 4, length: 8, check: 12, size: 16 } as const;
/** 'VMST'. */
const MAGIC = 0x54534d56;
const VERSION = 1;

/** A state that is none, not whole, damaged, or of something else. */
export class StateError extends Error {
  override readonly name = 'StateError';
}

/**
 * What goes to another process of a device that moves: a value, with its version and check.
 *
 * @param value - of what `encodeValue` takes.
 * @throws TypeError for a value that has no bytes, with where it is.
 */
export function sealState(value: unknown): Uint8Array {
  const body = encodeValue(value);
  if (HEAD.size + body.length > STATE_SIZE_MOST) {
    throw new TypeError(`a state of ${body.length} bytes, more than ${STATE_SIZE_MOST - HEAD.size}`);
  }
  const bytes = new Uint8Array(HEAD.size + body.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(HEAD.magic, MAGIC, true);
  view.setUint32(HEAD.version, VERSION, true);
  view.setUint32(HEAD.length, body.length, true);
  view.setUint32(HEAD.check, crc32(body), true);
  bytes.set(body, HEAD.size);
  return bytes;
}

/**
 * The value again. Any bytes may be given.
 *
 * @throws StateError when they are no state, or not all of it.
 */
export function openState(bytes: Uint8Array): unknown {
  if (bytes.length < HEAD.size)
    throw new StateError(`the state has ${bytes.length} bytes, its head alone ${HEAD.size}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view.getUint32(HEAD.magic, true) !== MAGIC) throw new StateError('the state is none of virtio-misc');
  const version = view.getUint32(HEAD.version, true);
  if (version !== VERSION) throw new StateError(`the state is of version ${version}, this is ${VERSION}`);
  const body = bytes.subarray(HEAD.size);
  const length = view.getUint32(HEAD.length, true);
  if (length !== body.length) throw new StateError(`the state has ${body.length} bytes of ${length}`);
  if (view.getUint32(HEAD.check, true) !== crc32(body)) throw new StateError('the state is damaged');
  try {
    return decodeValue(body);
  } catch (error) {
    if (error instanceof RangeError) throw new StateError(`the state is damaged: ${error.message}`);
    throw error;
  }
}

let table: Uint32Array | undefined;

/** CRC-32 as zlib has it. */
function crc32(bytes: Uint8Array): number {
  table ??= Uint32Array.from({ length: 256 }, (_, n) => {
    let rest = n;
    for (let bit = 0; bit < 8; bit++) rest = (rest & 1) === 0 ? rest >>> 1 : (rest >>> 1) ^ 0xedb8_8320;
    return rest;
  });
  let sum = 0xffff_ffff;
  for (const byte of bytes) sum = table[(sum ^ byte) & 0xff]! ^ (sum >>> 8);
  return ~sum >>> 0;
}
