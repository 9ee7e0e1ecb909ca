import { MESSAGE_FDS_MOST } from './framing.js';
import * as wire from './messages.js';
import { ConnectionError } from './vfio-user-error.js';

/** What a peer said about itself in VERSION. */
export interface Version {
  readonly major: number;
  readonly minor: number;
  /** Most bytes in one transfer. */
  readonly maxDataXferSize: number;
  /** Most descriptors that it takes in one message. */
  readonly maxMsgFds: number;
  /** Whether it takes REGION_WRITE_MULTI. */
  readonly writeMultiple: boolean;
  /** The names of the capabilities that it proposed; `undefined` when it sent none. */
  readonly names: readonly string[] | undefined;
}

/** What this end says of itself: to a client only what it proposed too. */
const CAPABILITIES: Readonly<Record<string, number | boolean>> = {
  max_msg_fds: MESSAGE_FDS_MOST,
  max_data_xfer_size: wire.DEFAULT_MAX_DATA_XFER_SIZE,
  max_dma_maps: 1024,
  pgsizes: 4096,
  write_multiple: true,
};

/** DMA windows that a client may have at a time. */
export const MAX_DMA_MAPS = 1024;
/** Bytes in a VERSION; real ones have a few hundred. */
const VERSION_SIZE_MOST = 16_384;
/** A transfer size below this would cut ring fields apart. */
const LEAST_XFER_SIZE = 16;

/** @throws ConnectionError `NEGOTIATION` when it can't be understood. */
export function decodeVersion(payload: DataView): Version {
  if (payload.byteLength < 4) throw bad(`VERSION has ${payload.byteLength} bytes`);
  const capabilities = parseCapabilities(payload);
  const number = (name: string, otherwise: number, least: number): number => {
    const value = capabilities?.[name] ?? otherwise;
    if (!Number.isSafeInteger(value) || (value as number) < least) {
      throw bad(`VERSION has no possible ${name}`);
    }
    return value as number;
  };
  return {
    major: payload.getUint16(0, true),
    minor: payload.getUint16(2, true),
    maxDataXferSize: number('max_data_xfer_size', wire.DEFAULT_MAX_DATA_XFER_SIZE, LEAST_XFER_SIZE),
    maxMsgFds: number('max_msg_fds', wire.DEFAULT_MAX_MSG_FDS, 0),
    writeMultiple: capabilities?.write_multiple === true,
    names: capabilities === undefined ? undefined : Object.keys(capabilities),
  };
}

/**
 * @param proposed - the names that the other side proposed, for a reply; `undefined` for no version data at all.
 */
export function encodeVersion(
  proposed: readonly string[] | undefined = Object.keys(CAPABILITIES),
): Uint8Array {
  const capabilities = Object.entries(CAPABILITIES).filter(([name]) => proposed.includes(name));
  const json = JSON.stringify({ capabilities: Object.fromEntries(capabilities) });
  const bytes = new Uint8Array(4 + json.length + 1);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, wire.VFIO_USER_MAJOR, true);
  view.setUint16(2, wire.VFIO_USER_MINOR, true);
  for (let i = 0; i < json.length; i++) bytes[4 + i] = json.charCodeAt(i);
  return bytes;
}

function parseCapabilities(payload: DataView): Record<string, unknown> | undefined {
  if (payload.byteLength === 4) return undefined;
  if (payload.byteLength > VERSION_SIZE_MOST) throw bad(`VERSION has ${payload.byteLength} bytes`);
  const bytes = new Uint8Array(payload.buffer, payload.byteOffset + 4, payload.byteLength - 4);
  if (bytes.at(-1) !== 0) throw bad('the version data does not end with NUL');
  let data: unknown;
  try {
    data = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, -1)));
  } catch {
    throw bad('the version data is no JSON');
  }
  if (!isObject(data)) throw bad('the version data is no object');
  const { capabilities } = data;
  if (capabilities === undefined) return {};
  if (!isObject(capabilities)) throw bad('the capabilities are no object');
  return capabilities;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function bad(message: string): ConnectionError {
  return new ConnectionError('NEGOTIATION', message);
}
