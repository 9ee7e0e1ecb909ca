import { RecordingError } from './recording-error.js';

/*
 * The blocks of a pcapng file (draft-ietf-opsawg-pcapng) that a recording consists of, little-endian: one section header, an interface for each
 * connection, and a packet for each event.
 */

export const SHB = 0x0a0d0d0a;
export const IDB = 1;
export const EPB = 6;
const BYTE_ORDER = 0x1a2b3c4d;

/** `LINKTYPE_USER0`: of nobody but those who agree on it. */
export const LINKTYPE_USER0 = 147;

const OPT_END = 0;
const SHB_USERAPPL = 4;
const IF_NAME = 2;
const IF_DESCRIPTION = 3;
const IF_TSRESOL = 9;
/** Nanoseconds. */
const TSRESOL_NS = 9;

/** Bytes of a block that is believed. */
const BLOCK_MOST = 64 << 20;
/** Bytes of an enhanced packet block around its packet. */
const EPB_FRAME = 32;

/** What comes before all else. @param program - who wrote it. */
export function sectionHeader(program: string): Uint8Array {
  const body = new Uint8Array(16);
  const view = new DataView(body.buffer);
  view.setUint32(0, BYTE_ORDER, true);
  view.setUint16(4, 1, true);
  // Of unknown length.
  view.setInt32(8, -1, true);
  view.setInt32(12, -1, true);
  return block(SHB, body, [[SHB_USERAPPL, utf8(program)]]);
}

/** A connection: the packets that name it follow. */
export function interfaceDescription(name: string, description: string): Uint8Array {
  const body = new Uint8Array(8);
  const view = new DataView(body.buffer);
  view.setUint16(0, LINKTYPE_USER0, true);
  return block(IDB, body, [
    [IF_NAME, utf8(name)],
    [IF_DESCRIPTION, utf8(description)],
    [IF_TSRESOL, Uint8Array.of(TSRESOL_NS)],
  ]);
}

/** Bytes that a packet of so many takes. */
export function packetBlockSize(length: number): number {
  return EPB_FRAME + padded(length);
}

/**
 * Writes a packet's block, all but the packet's own bytes.
 *
 * @param at - where it begins; the packet's bytes belong at `at + 28`, and zeros behind them.
 * @param high - of the time in ns since 1970, as `low`: 32 bits each.
 * @param missing - bytes that the packet would have, and does not.
 */
export function writePacketFrame(
  view: DataView,
  at: number,
  iface: number,
  high: number,
  low: number,
  length: number,
  missing: number,
): void {
  const size = packetBlockSize(length);
  view.setUint32(at, EPB, true);
  view.setUint32(at + 4, size, true);
  view.setUint32(at + 8, iface, true);
  view.setUint32(at + 12, high, true);
  view.setUint32(at + 16, low, true);
  view.setUint32(at + 20, length, true);
  view.setUint32(at + 24, length + missing, true);
  view.setUint32(at + size - 4, size, true);
}

/** Where in a packet's block its bytes begin. */
export const PACKET_AT = 28;

/** What a reader finds. */
export type PcapngItem =
  /** The `iface`th interface of the section, from 0. */
  | { readonly type: 'interface'; readonly iface: number; readonly link: number }
  /** `bytes` are good until the next one is asked for. */
  | {
      readonly type: 'packet';
      readonly iface: number;
      /** ns since 1970. */
      readonly time: bigint;
      readonly bytes: Uint8Array;
      /** Of the block, from the file's start. */
      readonly offset: number;
    };

/** Reads a pcapng file piece by piece. What it does not know it passes over. */
export class PcapngReader {
  #bytes = new Uint8Array();
  /** Of what is in `#bytes`, how much was read; and where in the file that begins. */
  #at = 0;
  #offset = 0;
  #begun = false;
  /** How many ns a unit of time of each interface is, or -n for 2^-n s. */
  #units: bigint[] = [];

  /** The next piece of the file. */
  push(piece: Uint8Array): void {
    const left = this.#bytes.subarray(this.#at);
    const bytes = new Uint8Array(left.length + piece.length);
    bytes.set(left);
    bytes.set(piece, left.length);
    this.#bytes = bytes;
    this.#offset += this.#at;
    this.#at = 0;
  }

  /** @returns `undefined` when more of the file is needed. @throws RecordingError for what can't be. */
  next(): PcapngItem | undefined {
    for (;;) {
      const left = this.#bytes.length - this.#at;
      if (left < 12) return undefined;
      const view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset + this.#at, left);
      const type = view.getUint32(0, true);
      const size = view.getUint32(4, true);
      const offset = this.#offset + this.#at;
      if (!this.#begun) checkBeginning(type, view, offset);
      if (size < 12 || size % 4 !== 0 || size > BLOCK_MOST)
        throw new RecordingError(`a block of ${size} bytes can not be`, offset);
      if (left < size) return undefined;
      if (view.getUint32(size - 4, true) !== size)
        throw new RecordingError('a block does not end as it began', offset);
      const body = this.#bytes.subarray(this.#at + 8, this.#at + size - 4);
      this.#at += size;
      this.#begun = true;
      const item = this.#item(type, body, offset);
      if (item !== undefined) return item;
    }
  }

  /** The file has ended. @throws RecordingError when that was in the middle of a block, or before the first. */
  end(): void {
    const left = this.#bytes.length - this.#at;
    const offset = this.#offset + this.#at;
    if (!this.#begun) throw new RecordingError('this is no recording: it is too short', 0);
    if (left > 0)
      throw new RecordingError(`the recording is cut: ${left} bytes of a block are there`, offset);
  }

  #item(type: number, body: Uint8Array, offset: number): PcapngItem | undefined {
    const view = new DataView(body.buffer, body.byteOffset, body.length);
    if (type === SHB) {
      if (body.length >= 4 && view.getUint32(0, true) !== BYTE_ORDER)
        throw new RecordingError('the recording is of the other byte order', offset);
      this.#units = [];
      return undefined;
    }
    if (type === IDB) {
      if (body.length < 8) throw new RecordingError('an interface block is too short', offset);
      this.#units.push(unitOf(body.subarray(8)));
      return { type: 'interface', iface: this.#units.length - 1, link: view.getUint16(0, true) };
    }
    if (type !== EPB) return undefined;
    if (body.length < 20) throw new RecordingError('a packet block is too short', offset);
    const iface = view.getUint32(0, true);
    const length = view.getUint32(12, true);
    const unit = this.#units[iface];
    if (unit === undefined) throw new RecordingError(`there is no interface ${iface}`, offset);
    if (length > body.length - 20)
      throw new RecordingError(`a packet of ${length} bytes is not in its block`, offset);
    const stamp = (BigInt(view.getUint32(4, true)) << 32n) | BigInt(view.getUint32(8, true));
    const time = unit < 0n ? (stamp * 1_000_000_000n) >> -unit : stamp * unit;
    return { type: 'packet', iface, time, bytes: body.subarray(20, 20 + length), offset };
  }
}

function checkBeginning(type: number, view: DataView, offset: number): void {
  if (type !== SHB) throw new RecordingError('this is no recording: it is no pcapng file', offset);
  if (view.getUint32(8, true) !== BYTE_ORDER)
    throw new RecordingError('the recording is of the other byte order, or none', offset);
}

/** Of the options of an interface: ns of a unit of time, which are us unless told. */
function unitOf(options: Uint8Array): bigint {
  const view = new DataView(options.buffer, options.byteOffset, options.length);
  for (let at = 0; at + 4 <= options.length; ) {
    const code = view.getUint16(at, true);
    const length = view.getUint16(at + 2, true);
    if (code === OPT_END) break;
    if (code === IF_TSRESOL && length >= 1 && at + 4 < options.length) {
      const resolution = options[at + 4]!;
      if (resolution >= 0x80) return BigInt(-(resolution & 0x7f)) || 1_000_000_000n;
      if (resolution <= 9) return 10n ** BigInt(9 - resolution);
    }
    at += 4 + padded(length);
  }
  return 1000n;
}

function block(
  type: number,
  body: Uint8Array,
  options: readonly (readonly [code: number, value: Uint8Array])[],
): Uint8Array {
  const length = options.reduce((sum, [, value]) => sum + 4 + padded(value.length), 4);
  const size = 12 + body.length + length;
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setUint32(4, size, true);
  bytes.set(body, 8);
  let at = 8 + body.length;
  for (const [code, value] of options) {
    view.setUint16(at, code, true);
    view.setUint16(at + 2, value.length, true);
    bytes.set(value, at + 4);
    at += 4 + padded(value.length);
  }
  view.setUint32(size - 4, size, true);
  return bytes;
}

function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text).subarray(0, 0xffff);
}

function padded(length: number): number {
  return (length + 3) & ~3;
}
