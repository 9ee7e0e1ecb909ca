import { type GuestAddress, get64, set64 } from '../../memory/address.js';
import * as wire from './messages.js';
import { VfioUserError } from './vfio-user-error.js';

/*
 * Payloads to values and back. Every decoder takes any bytes: what can't be is a `VfioUserError` that says so.
 */

export interface DmaMap {
  readonly flags: number;
  /** Offset in the file, in bytes; `NaN` above 2^53 - 1. */
  readonly offset: number;
  readonly address: GuestAddress;
  /** Bytes. */
  readonly size: number;
}

export interface DmaUnmap {
  readonly flags: number;
  readonly address: GuestAddress;
  readonly size: number;
  /** With GET_DIRTY_BITMAP: the bitmap that is wanted of it. */
  readonly bitmap?: DirtyBitmap | undefined;
}

/** struct vfio_user_bitmap: bytes, `NaN` above 2^53 - 1. */
export interface DirtyBitmap {
  readonly pageSize: number;
  /** Of the bitmap. */
  readonly size: number;
}

export interface IrqSet {
  readonly flags: number;
  readonly index: number;
  readonly start: number;
  readonly count: number;
  /** One byte for each interrupt with DATA_BOOL; empty otherwise. */
  readonly bools: Uint8Array;
}

export interface RegionAccess {
  /** `NaN` above 2^53 - 1. */
  readonly offset: number;
  readonly region: number;
  /** Bytes to read, or that were written. */
  readonly count: number;
}

export interface RegionWrite extends RegionAccess {
  readonly data: Uint8Array;
}

export function decodeDmaMap(payload: DataView): DmaMap {
  need(payload, wire.DMA_MAP.size, 'DMA_MAP');
  return {
    flags: payload.getUint32(wire.DMA_MAP.flags, true),
    offset: get64(payload, wire.DMA_MAP.offset),
    address: get64(payload, wire.DMA_MAP.address) as GuestAddress,
    size: get64(payload, wire.DMA_MAP.regionSize),
  };
}

export function encodeDmaMap(map: DmaMap): Uint8Array {
  const payload = new DataView(new ArrayBuffer(wire.DMA_MAP.size));
  payload.setUint32(wire.DMA_MAP.argsz, wire.DMA_MAP.size, true);
  payload.setUint32(wire.DMA_MAP.flags, map.flags, true);
  set64(payload, wire.DMA_MAP.offset, map.offset);
  set64(payload, wire.DMA_MAP.address, map.address);
  set64(payload, wire.DMA_MAP.regionSize, map.size);
  return bytesOf(payload);
}

export function decodeDmaUnmap(payload: DataView): DmaUnmap {
  need(payload, wire.DMA_UNMAP.size, 'DMA_UNMAP');
  const unmap = {
    flags: payload.getUint32(wire.DMA_UNMAP.flags, true),
    address: get64(payload, wire.DMA_UNMAP.address) as GuestAddress,
    size: get64(payload, wire.DMA_UNMAP.regionSize),
  };
  if (unmap.flags !== wire.VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP) return unmap;
  const { size } = wire.DMA_UNMAP;
  need(payload, size + wire.BITMAP.size, 'DMA_UNMAP with a bitmap');
  const bitmap = {
    pageSize: get64(payload, size + wire.BITMAP.pgsize),
    size: get64(payload, size + wire.BITMAP.bitmapSize),
  };
  const room = payload.getUint32(wire.DMA_UNMAP.argsz, true);
  if (!(room >= size + wire.BITMAP.size + bitmap.size)) {
    throw new VfioUserError(
      'EINVAL',
      `DMA_UNMAP with a bitmap of ${bitmap.size} bytes has room for ${room} in all`,
    );
  }
  return { ...unmap, bitmap };
}

export function encodeDmaUnmap(unmap: DmaUnmap): Uint8Array {
  const { bitmap } = unmap;
  const { size } = wire.DMA_UNMAP;
  const payload = new DataView(new ArrayBuffer(size + (bitmap === undefined ? 0 : wire.BITMAP.size)));
  payload.setUint32(wire.DMA_UNMAP.argsz, payload.byteLength + (bitmap?.size ?? 0), true);
  if (bitmap !== undefined) {
    set64(payload, size + wire.BITMAP.pgsize, bitmap.pageSize);
    set64(payload, size + wire.BITMAP.bitmapSize, bitmap.size);
  }
  payload.setUint32(wire.DMA_UNMAP.flags, unmap.flags, true);
  set64(payload, wire.DMA_UNMAP.address, unmap.address);
  set64(payload, wire.DMA_UNMAP.regionSize, unmap.size);
  return bytesOf(payload);
}

/** The index that GET_REGION_INFO, GET_REGION_IO_FDS or GET_IRQ_INFO asks about; all three have it at the same place. */
export function decodeIndex(payload: DataView, command: number): number {
  const size = command === wire.VFIO_USER_DEVICE_GET_REGION_INFO ? wire.REGION_INFO.size : wire.IRQ_INFO.size;
  need(payload, size, wire.commandName(command));
  if (payload.getUint32(0, true) < size) {
    throw new VfioUserError('EINVAL', `${wire.commandName(command)} has room for less than its reply`);
  }
  return payload.getUint32(wire.REGION_INFO.index, true);
}

/**
 * A request for what GET_REGION_INFO, GET_REGION_IO_FDS or GET_IRQ_INFO tells about `index`.
 *
 * @param room - bytes that the answer may have beside its head.
 */
export function encodeIndex(index: number, command: number, room = 0): Uint8Array {
  const size = command === wire.VFIO_USER_DEVICE_GET_REGION_INFO ? wire.REGION_INFO.size : wire.IRQ_INFO.size;
  const payload = new DataView(new ArrayBuffer(size));
  payload.setUint32(0, size + room, true);
  payload.setUint32(wire.REGION_INFO.index, index, true);
  return bytesOf(payload);
}

export function encodeRegionInfo(index: number, flags: number, size: number): Uint8Array {
  const payload = new DataView(new ArrayBuffer(wire.REGION_INFO.size));
  payload.setUint32(wire.REGION_INFO.argsz, wire.REGION_INFO.size, true);
  payload.setUint32(wire.REGION_INFO.flags, flags, true);
  payload.setUint32(wire.REGION_INFO.index, index, true);
  set64(payload, wire.REGION_INFO.regionSize, size);
  return bytesOf(payload);
}

export function decodeRegionInfo(payload: DataView): {
  flags: number;
  index: number;
  size: number;
  offset: number;
} {
  need(payload, wire.REGION_INFO.size, 'the answer to DEVICE_GET_REGION_INFO');
  return {
    flags: payload.getUint32(wire.REGION_INFO.flags, true),
    index: payload.getUint32(wire.REGION_INFO.index, true),
    size: get64(payload, wire.REGION_INFO.regionSize),
    /** Where it begins in the file that comes along. */
    offset: get64(payload, wire.REGION_INFO.offset),
  };
}

/** DEVICE_INFO and IRQ_INFO are four le32 each: argsz, flags and two more. */
export function encodeInfo(flags: number, third: number, fourth: number): Uint8Array {
  const payload = new DataView(new ArrayBuffer(16));
  payload.setUint32(0, 16, true);
  payload.setUint32(4, flags, true);
  payload.setUint32(8, third, true);
  payload.setUint32(12, fourth, true);
  return bytesOf(payload);
}

export function decodeInfo(
  payload: DataView,
  command: number,
): { flags: number; third: number; fourth: number } {
  need(payload, 16, `the answer to ${wire.commandName(command)}`);
  return {
    flags: payload.getUint32(4, true),
    third: payload.getUint32(8, true),
    fourth: payload.getUint32(12, true),
  };
}

/** A part of a region that an eventfd stands for: each write to it is a signal. */
export interface SubRegion {
  readonly offset: number;
  /** Bytes of the writes; 0 for any. */
  readonly size: number;
  /** Which of the descriptors that come with it. */
  readonly fdIndex: number;
}

/**
 * The answer to DEVICE_GET_REGION_IO_FDS.
 *
 * @param room - bytes that it may have: with less than it takes, it says how many those are, and has no sub-region.
 */
export function encodeRegionIoFds(index: number, parts: readonly SubRegion[], room: number): Uint8Array {
  const { size: head } = wire.REGION_IO_FDS;
  const { offset, regionSize, fd_index, type, size } = wire.SUB_REGION;
  const whole = head + parts.length * size;
  const payload = new DataView(new ArrayBuffer(whole <= room ? whole : head));
  payload.setUint32(wire.REGION_IO_FDS.argsz, whole, true);
  payload.setUint32(wire.REGION_IO_FDS.index, index, true);
  payload.setUint32(wire.REGION_IO_FDS.count, parts.length, true);
  if (whole > room) return bytesOf(payload);
  for (const [i, part] of parts.entries()) {
    const at = head + i * size;
    set64(payload, at + offset, part.offset);
    set64(payload, at + regionSize, part.size);
    payload.setUint32(at + fd_index, part.fdIndex, true);
    payload.setUint32(at + type, wire.VFIO_USER_IO_FD_TYPE_IOEVENTFD, true);
  }
  return bytesOf(payload);
}

/** @returns those sub-regions that are ioeventfds without further conditions; `undefined` when the answer had no room: how many bytes it takes. */
export function decodeRegionIoFds(payload: DataView): { argsz: number; parts: SubRegion[] | undefined } {
  const { size: head } = wire.REGION_IO_FDS;
  const { offset, regionSize, fd_index, type, flags, size } = wire.SUB_REGION;
  need(payload, head, 'the answer to DEVICE_GET_REGION_IO_FDS');
  const argsz = payload.getUint32(wire.REGION_IO_FDS.argsz, true);
  const count = payload.getUint32(wire.REGION_IO_FDS.count, true);
  if (payload.byteLength < head + count * size) return { argsz, parts: undefined };
  const parts: SubRegion[] = [];
  for (let i = 0; i < count; i++) {
    const at = head + i * size;
    const kind = payload.getUint32(at + type, true);
    if (kind !== wire.VFIO_USER_IO_FD_TYPE_IOEVENTFD || payload.getUint32(at + flags, true) !== 0) continue;
    parts.push({
      offset: get64(payload, at + offset),
      size: get64(payload, at + regionSize),
      fdIndex: payload.getUint32(at + fd_index, true),
    });
  }
  return { argsz, parts };
}

export function decodeIrqSet(payload: DataView): IrqSet {
  need(payload, wire.IRQ_SET.size, 'DEVICE_SET_IRQS');
  const flags = payload.getUint32(wire.IRQ_SET.flags, true);
  const count = payload.getUint32(wire.IRQ_SET.count, true);
  const bool = (flags & wire.VFIO_IRQ_SET_DATA_TYPE_MASK) === wire.VFIO_IRQ_SET_DATA_BOOL;
  if (bool) need(payload, wire.IRQ_SET.size + count, `DEVICE_SET_IRQS of ${count} booleans`);
  return {
    flags,
    index: payload.getUint32(wire.IRQ_SET.index, true),
    start: payload.getUint32(wire.IRQ_SET.start, true),
    count,
    bools: rest(payload, wire.IRQ_SET.size, bool ? count : 0),
  };
}

export function encodeIrqSet(set: IrqSet): Uint8Array {
  const payload = new DataView(new ArrayBuffer(wire.IRQ_SET.size + set.bools.length));
  payload.setUint32(wire.IRQ_SET.argsz, payload.byteLength, true);
  payload.setUint32(wire.IRQ_SET.flags, set.flags, true);
  payload.setUint32(wire.IRQ_SET.index, set.index, true);
  payload.setUint32(wire.IRQ_SET.start, set.start, true);
  payload.setUint32(wire.IRQ_SET.count, set.count, true);
  const bytes = bytesOf(payload);
  bytes.set(set.bools, wire.IRQ_SET.size);
  return bytes;
}

export function decodeRegionAccess(payload: DataView, command: number): RegionAccess {
  need(payload, wire.REGION_ACCESS.size, wire.commandName(command));
  return {
    offset: get64(payload, wire.REGION_ACCESS.offset),
    region: payload.getUint32(wire.REGION_ACCESS.region, true),
    count: payload.getUint32(wire.REGION_ACCESS.count, true),
  };
}

export function encodeRegionAccess({ offset, region, count }: RegionAccess): Uint8Array {
  const payload = new DataView(new ArrayBuffer(wire.REGION_ACCESS.size));
  set64(payload, wire.REGION_ACCESS.offset, offset);
  payload.setUint32(wire.REGION_ACCESS.region, region, true);
  payload.setUint32(wire.REGION_ACCESS.count, count, true);
  return bytesOf(payload);
}

export function decodeRegionWrite(payload: DataView): RegionWrite {
  const access = decodeRegionAccess(payload, wire.VFIO_USER_REGION_WRITE);
  need(payload, wire.REGION_ACCESS.size + access.count, `REGION_WRITE of ${access.count} bytes`);
  return { ...access, data: rest(payload, wire.REGION_ACCESS.size, access.count) };
}

/** The writes one after the other, decoded as they are taken; all were checked when the first is there. */
export function* decodeWriteMulti(payload: DataView): Generator<RegionWrite> {
  need(payload, wire.WRITE_MULTI.size, 'REGION_WRITE_MULTI');
  const count = get64(payload, wire.WRITE_MULTI.wr_cnt);
  need(
    payload,
    wire.WRITE_MULTI.size + count * wire.WRITE_MULTI.writeSize,
    `REGION_WRITE_MULTI of ${count} writes`,
  );
  const { size, writeSize, data, dataSize } = wire.WRITE_MULTI;
  for (let i = 0; i < count; i++) {
    const bytes = payload.getUint32(size + i * writeSize + wire.REGION_ACCESS.count, true);
    if (bytes > dataSize) {
      throw new VfioUserError('EINVAL', `REGION_WRITE_MULTI has a write of ${bytes} bytes, more than 8`);
    }
  }
  for (let i = 0; i < count; i++) {
    const one = new DataView(payload.buffer, payload.byteOffset + size + i * writeSize, writeSize);
    const access = decodeRegionAccess(one, wire.VFIO_USER_REGION_WRITE_MULTI);
    yield { ...access, data: rest(one, data, access.count) };
  }
}

export function encodeWriteMulti(writes: readonly RegionWrite[]): Uint8Array {
  const { size, writeSize, data } = wire.WRITE_MULTI;
  const bytes = new Uint8Array(size + writes.length * writeSize);
  set64(new DataView(bytes.buffer), wire.WRITE_MULTI.wr_cnt, writes.length);
  for (const [i, write] of writes.entries()) {
    bytes.set(encodeRegionAccess(write), size + i * writeSize);
    bytes.set(write.data, size + i * writeSize + data);
  }
  return bytes;
}

/** The address and size with which DMA_READ and DMA_WRITE begin, both ways. */
export function encodeDmaAccess(address: number, count: number): Uint8Array {
  const payload = new DataView(new ArrayBuffer(wire.DMA_ACCESS.size));
  set64(payload, wire.DMA_ACCESS.address, address);
  set64(payload, wire.DMA_ACCESS.count, count);
  return bytesOf(payload);
}

export function decodeDmaAccess(
  payload: DataView,
  command: number,
): { address: GuestAddress; count: number } {
  need(payload, wire.DMA_ACCESS.size, wire.commandName(command));
  return {
    address: get64(payload, wire.DMA_ACCESS.address) as GuestAddress,
    count: get64(payload, wire.DMA_ACCESS.count),
  };
}

/** `length` bytes of a payload from `offset`: a view, not a copy. */
export function rest(
  payload: DataView,
  offset: number,
  length: number = payload.byteLength - offset,
): Uint8Array {
  return new Uint8Array(payload.buffer, payload.byteOffset + offset, length);
}

function bytesOf(view: DataView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

/** @throws VfioUserError `EINVAL` when a payload has less than `size` bytes. */
export function need(payload: DataView, size: number, what: string): void {
  // Not `<`: NaN must be refused.
  if (!(payload.byteLength >= size)) {
    throw new VfioUserError('EINVAL', `${what} has ${payload.byteLength} bytes, ${size} are needed`);
  }
}
