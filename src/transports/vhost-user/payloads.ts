import { type FrontendAddress, type GuestAddress, get64, set64 } from '../../memory/address.js';
import {
  CONFIG,
  DEVICE_STATE,
  DEVICE_STATE_SIZE,
  INFLIGHT,
  INFLIGHT_PADDED_SIZE,
  LOG,
  LOG_SIZE,
  REGION,
  REGION_SIZE,
  REGIONS,
  SINGLE_REGION,
  SINGLE_REGION_SIZE,
  VRING_ADDR,
  VRING_ADDR_SIZE,
  VRING_STATE,
  VRING_STATE_SIZE,
} from './messages.js';

/*
 * The structs that messages carry, from bytes and to bytes. Numbers that are wider than 53 bits on the wire come out as
 * `NaN` when they don't fit, which every bounds check refuses.
 */

export interface VringState {
  readonly index: number;
  readonly num: number;
}

export interface VringAddress {
  readonly index: number;
  readonly flags: number;
  readonly descriptor: FrontendAddress;
  readonly used: FrontendAddress;
  readonly available: FrontendAddress;
  /** The guest address at which the first byte of `used` is logged, if `flags` says so. */
  readonly log: GuestAddress;
}

/** Where a log of dirty pages is in its file. */
export interface LogDescription {
  /** Bytes. */
  readonly size: number;
  readonly offset: number;
}

/** One region of guest memory, as the front-end describes it. */
export interface RegionDescription {
  readonly guestAddress: GuestAddress;
  /** Bytes. */
  readonly size: number;
  /** The same bytes in the front-end's own memory. */
  readonly userAddress: FrontendAddress;
  /** Where the region begins in the file. */
  readonly mmapOffset: number;
}

/** Which way a device's state goes, and when: `STATE_DIRECTION` and `STATE_PHASE`. */
export interface DeviceStateParameters {
  readonly direction: number;
  readonly phase: number;
}

/** Where it is kept what is in flight. */
export interface InflightDescription {
  /** Bytes of the region; 0 where there is none. */
  readonly mmapSize: number;
  /** Where it begins in its file. */
  readonly mmapOffset: number;
  readonly queues: number;
  /** Descriptors of each, at most. */
  readonly queueSize: number;
}

/** An access to the configuration space. */
export interface ConfigAccess {
  readonly offset: number;
  /** Bytes that it is about. */
  readonly size: number;
  readonly flags: number;
  /** The bytes that came along; a hostile peer's are not `size`. */
  readonly bytes: Uint8Array;
}

export function encodeU64(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return bytes;
}

export function decodeVringState(payload: DataView): VringState {
  return {
    index: payload.getUint32(VRING_STATE.index, true),
    num: payload.getUint32(VRING_STATE.num, true),
  };
}

export function encodeVringState({ index, num }: VringState): Uint8Array {
  const bytes = new Uint8Array(VRING_STATE_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(VRING_STATE.index, index, true);
  view.setUint32(VRING_STATE.num, num, true);
  return bytes;
}

export function decodeVringAddress(payload: DataView): VringAddress {
  const address = (at: number): FrontendAddress => get64(payload, at) as FrontendAddress;
  return {
    index: payload.getUint32(VRING_ADDR.index, true),
    flags: payload.getUint32(VRING_ADDR.flags, true),
    descriptor: address(VRING_ADDR.descriptor),
    used: address(VRING_ADDR.used),
    available: address(VRING_ADDR.available),
    log: get64(payload, VRING_ADDR.log) as GuestAddress,
  };
}

export function encodeVringAddress(address: VringAddress): Uint8Array {
  const bytes = new Uint8Array(VRING_ADDR_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(VRING_ADDR.index, address.index, true);
  view.setUint32(VRING_ADDR.flags, address.flags, true);
  set64(view, VRING_ADDR.descriptor, address.descriptor);
  set64(view, VRING_ADDR.used, address.used);
  set64(view, VRING_ADDR.available, address.available);
  set64(view, VRING_ADDR.log, address.log);
  return bytes;
}

/** @returns `undefined` when the payload is the address that it is without LOG_SHMFD. */
export function decodeLog(payload: DataView): LogDescription | undefined {
  if (payload.byteLength < LOG_SIZE) return undefined;
  return { size: get64(payload, LOG.size), offset: get64(payload, LOG.offset) };
}

export function encodeLog({ size, offset }: LogDescription): Uint8Array {
  const bytes = new Uint8Array(LOG_SIZE);
  const view = new DataView(bytes.buffer);
  set64(view, LOG.size, size);
  set64(view, LOG.offset, offset);
  return bytes;
}

export function decodeRegion(payload: DataView): RegionDescription {
  return regionAt(payload, SINGLE_REGION.region);
}

export function encodeRegion(region: RegionDescription): Uint8Array {
  const bytes = new Uint8Array(SINGLE_REGION_SIZE);
  putRegion(new DataView(bytes.buffer), SINGLE_REGION.region, region);
  return bytes;
}

/** @returns `undefined` when the payload is too short for the regions that it says it has. */
export function decodeRegions(payload: DataView): RegionDescription[] | undefined {
  const count = payload.getUint32(REGIONS.count, true);
  if (payload.byteLength < REGIONS.regions + count * REGION_SIZE) return undefined;
  return Array.from({ length: count }, (_, i) => regionAt(payload, REGIONS.regions + i * REGION_SIZE));
}

export function encodeRegions(regions: readonly RegionDescription[]): Uint8Array {
  const bytes = new Uint8Array(REGIONS.regions + regions.length * REGION_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(REGIONS.count, regions.length, true);
  for (const [i, region] of regions.entries()) putRegion(view, REGIONS.regions + i * REGION_SIZE, region);
  return bytes;
}

export function encodeDeviceState({ direction, phase }: DeviceStateParameters): Uint8Array {
  const bytes = new Uint8Array(DEVICE_STATE_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(DEVICE_STATE.direction, direction, true);
  view.setUint32(DEVICE_STATE.phase, phase, true);
  return bytes;
}

export function decodeDeviceState(payload: DataView): DeviceStateParameters {
  return {
    direction: payload.getUint32(DEVICE_STATE.direction, true),
    phase: payload.getUint32(DEVICE_STATE.phase, true),
  };
}

export function decodeInflight(payload: DataView): InflightDescription {
  return {
    mmapSize: get64(payload, INFLIGHT.mmapSize),
    mmapOffset: get64(payload, INFLIGHT.mmapOffset),
    queues: payload.getUint16(INFLIGHT.queues, true),
    queueSize: payload.getUint16(INFLIGHT.queueSize, true),
  };
}

/** @param length - of the payload: as long as the one that is answered. */
export function encodeInflight(
  inflight: InflightDescription,
  length: number = INFLIGHT_PADDED_SIZE,
): Uint8Array {
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  set64(view, INFLIGHT.mmapSize, inflight.mmapSize);
  set64(view, INFLIGHT.mmapOffset, inflight.mmapOffset);
  view.setUint16(INFLIGHT.queues, inflight.queues, true);
  view.setUint16(INFLIGHT.queueSize, inflight.queueSize, true);
  return bytes;
}

export function decodeConfig(payload: DataView): ConfigAccess {
  return {
    offset: payload.getUint32(CONFIG.offset, true),
    size: payload.getUint32(CONFIG.size, true),
    flags: payload.getUint32(CONFIG.flags, true),
    bytes: new Uint8Array(
      payload.buffer,
      payload.byteOffset + CONFIG.payload,
      payload.byteLength - CONFIG.payload,
    ),
  };
}

export function encodeConfig({ offset, size, flags, bytes }: ConfigAccess): Uint8Array {
  const payload = new Uint8Array(CONFIG.payload + bytes.length);
  const view = new DataView(payload.buffer);
  view.setUint32(CONFIG.offset, offset, true);
  view.setUint32(CONFIG.size, size, true);
  view.setUint32(CONFIG.flags, flags, true);
  payload.set(bytes, CONFIG.payload);
  return payload;
}

function regionAt(view: DataView, at: number): RegionDescription {
  return {
    guestAddress: get64(view, at + REGION.guestAddress) as GuestAddress,
    size: get64(view, at + REGION.size),
    userAddress: get64(view, at + REGION.userAddress) as FrontendAddress,
    mmapOffset: get64(view, at + REGION.mmapOffset),
  };
}

function putRegion(view: DataView, at: number, region: RegionDescription): void {
  set64(view, at + REGION.guestAddress, region.guestAddress);
  set64(view, at + REGION.size, region.size);
  set64(view, at + REGION.userAddress, region.userAddress);
  set64(view, at + REGION.mmapOffset, region.mmapOffset);
}
