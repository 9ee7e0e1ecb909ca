import { type GuestAddress, get64, set64 } from '../../memory/address.js';
import { need, rest } from './codec.js';
import * as wire from './messages.js';
import { VfioUserError } from './vfio-user-error.js';

/*
 * Payloads of DEVICE_FEATURE and of what goes with it: to values and back. Every decoder takes any bytes, as those of `codec.ts`.
 */

/** What is to be done with which feature. */
export interface Feature {
  /** Most bytes that the reply may have. */
  readonly argsz: number;
  readonly feature: number;
  /** GET, SET and PROBE: any bits. */
  readonly operations: number;
  /** All after these. */
  readonly data: DataView;
}

/** A range of memory, and how large its pages are, in bytes; `NaN` above 2^53 - 1. */
export interface PageRange {
  readonly address: GuestAddress;
  readonly length: number;
  readonly pageSize: number;
}

export function decodeFeature(payload: DataView): Feature {
  need(payload, wire.DEVICE_FEATURE.size, 'DEVICE_FEATURE');
  const flags = payload.getUint32(wire.DEVICE_FEATURE.flags, true);
  const data = rest(payload, wire.DEVICE_FEATURE.size);
  return {
    argsz: payload.getUint32(wire.DEVICE_FEATURE.argsz, true),
    feature: flags & wire.VFIO_DEVICE_FEATURE_MASK,
    operations: (flags & ~wire.VFIO_DEVICE_FEATURE_MASK) >>> 0,
    data: new DataView(data.buffer, data.byteOffset, data.length),
  };
}

/** @param room - bytes of data that the reply may have; as many as are sent unless told. */
export function encodeFeature(
  feature: number,
  operations: number,
  data: Uint8Array = new Uint8Array(),
  room: number = data.length,
): Uint8Array {
  const bytes = new Uint8Array(wire.DEVICE_FEATURE.size + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(wire.DEVICE_FEATURE.argsz, wire.DEVICE_FEATURE.size + room, true);
  view.setUint32(wire.DEVICE_FEATURE.flags, feature | operations, true);
  bytes.set(data, wire.DEVICE_FEATURE.size);
  return bytes;
}

/** The data of MIG_DEVICE_STATE: a state, and a descriptor that is none here. */
export function encodeMigState(state: number): Uint8Array {
  const data = new DataView(new ArrayBuffer(wire.FEATURE_MIG_STATE.size));
  data.setUint32(wire.FEATURE_MIG_STATE.device_state, state, true);
  return rest(data, 0);
}

export function decodeMigState(data: DataView): number {
  need(data, wire.FEATURE_MIG_STATE.size, 'MIG_DEVICE_STATE');
  return data.getUint32(wire.FEATURE_MIG_STATE.device_state, true);
}

/** The data of MIGRATION. */
export function encodeMigration(flags: number): Uint8Array {
  const data = new DataView(new ArrayBuffer(wire.FEATURE_MIGRATION.size));
  set64(data, wire.FEATURE_MIGRATION.flags, flags);
  return rest(data, 0);
}

export function decodeMigration(data: DataView): number {
  need(data, wire.FEATURE_MIGRATION.size, 'MIGRATION');
  return data.getUint32(wire.FEATURE_MIGRATION.flags, true);
}

/** The data of DMA_LOGGING_START. */
export function decodeLoggingControl(data: DataView): {
  pageSize: number;
  ranges: { address: number; length: number }[];
} {
  const { page_size, num_ranges, size } = wire.DMA_LOGGING_CONTROL;
  need(data, size, 'DMA_LOGGING_START');
  const count = data.getUint32(num_ranges, true);
  const range = wire.DMA_LOGGING_RANGE;
  need(data, size + count * range.size, `DMA_LOGGING_START of ${count} ranges`);
  return {
    pageSize: get64(data, page_size),
    ranges: Array.from({ length: count }, (_, i) => ({
      address: get64(data, size + i * range.size + range.iova),
      length: get64(data, size + i * range.size + range.length),
    })),
  };
}

export function encodeLoggingControl(
  pageSize: number,
  ranges: readonly { readonly address: number; readonly length: number }[],
): Uint8Array {
  const { page_size, num_ranges, size } = wire.DMA_LOGGING_CONTROL;
  const range = wire.DMA_LOGGING_RANGE;
  const data = new DataView(new ArrayBuffer(size + ranges.length * range.size));
  set64(data, page_size, pageSize);
  data.setUint32(num_ranges, ranges.length, true);
  for (const [i, { address, length }] of ranges.entries()) {
    set64(data, size + i * range.size + range.iova, address);
    set64(data, size + i * range.size + range.length, length);
  }
  return rest(data, 0);
}

/** The data of DMA_LOGGING_REPORT, before the bitmap. */
export function decodeLoggingReport(data: DataView): PageRange {
  need(data, wire.DMA_LOGGING_REPORT.size, 'DMA_LOGGING_REPORT');
  return {
    address: get64(data, wire.DMA_LOGGING_REPORT.iova) as GuestAddress,
    length: get64(data, wire.DMA_LOGGING_REPORT.length),
    pageSize: get64(data, wire.DMA_LOGGING_REPORT.page_size),
  };
}

export function encodeLoggingReport({ address, length, pageSize }: PageRange): Uint8Array {
  const data = new DataView(new ArrayBuffer(wire.DMA_LOGGING_REPORT.size));
  set64(data, wire.DMA_LOGGING_REPORT.iova, address);
  set64(data, wire.DMA_LOGGING_REPORT.length, length);
  set64(data, wire.DMA_LOGGING_REPORT.page_size, pageSize);
  return rest(data, 0);
}

/** Of MIG_DATA_READ: how many bytes are wanted. */
export function decodeMigDataRead(payload: DataView): number {
  const size = migDataSize(payload, wire.VFIO_USER_MIG_DATA_READ);
  const argsz = payload.getUint32(wire.MIG_DATA.argsz, true);
  if (argsz < wire.MIG_DATA.size + size) {
    throw new VfioUserError('EINVAL', `MIG_DATA_READ of ${size} bytes has room for ${argsz} in all`);
  }
  return size;
}

/** The data of MIG_DATA_WRITE, or of the answer to MIG_DATA_READ: a view, not a copy. */
export function decodeMigData(payload: DataView, command: number): Uint8Array {
  const size = migDataSize(payload, command);
  need(payload, wire.MIG_DATA.size + size, `${wire.commandName(command)} of ${size} bytes`);
  return rest(payload, wire.MIG_DATA.size, size);
}

/** @param size - bytes that are wanted, or that follow. */
export function encodeMigData(size: number): Uint8Array {
  const payload = new DataView(new ArrayBuffer(wire.MIG_DATA.size));
  payload.setUint32(wire.MIG_DATA.argsz, wire.MIG_DATA.size + size, true);
  payload.setUint32(wire.MIG_DATA.dataSize, size, true);
  return rest(payload, 0);
}

function migDataSize(payload: DataView, command: number): number {
  const name = wire.commandName(command);
  need(payload, wire.MIG_DATA.size, name);
  const size = payload.getUint32(wire.MIG_DATA.dataSize, true);
  if (size > wire.DEFAULT_MAX_DATA_XFER_SIZE) {
    throw new VfioUserError(
      'EINVAL',
      `${name} of ${size} bytes, more than ${wire.DEFAULT_MAX_DATA_XFER_SIZE}`,
    );
  }
  return size;
}
