import { get64, set64 } from '../../memory/address.js';
import { SHARED_MEMORY_PAGE } from '../../virtio/shared-memory.js';
import {
  SHMEM_CONFIG,
  SHMEM_CONFIG_SIZE,
  SHMEM_MAP,
  SHMEM_MAP_SIZE,
  SHMEM_MAP_WRITABLE,
} from './messages.js';

/** What SHMEM_MAP and SHMEM_UNMAP say. Numbers that are wider than 53 bits come out as `NaN`. */
export interface SharedMapping {
  /** Which region. */
  readonly id: number;
  /** Where in it; bytes. */
  readonly offset: number;
  readonly length: number;
  readonly fileOffset: number;
  readonly writable: boolean;
}

export function encodeSharedMapping(mapping: SharedMapping): Uint8Array {
  const bytes = new Uint8Array(SHMEM_MAP_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint8(SHMEM_MAP.id, mapping.id);
  set64(view, SHMEM_MAP.fileOffset, mapping.fileOffset);
  set64(view, SHMEM_MAP.offset, mapping.offset);
  set64(view, SHMEM_MAP.length, mapping.length);
  set64(view, SHMEM_MAP.flags, mapping.writable ? SHMEM_MAP_WRITABLE : 0);
  return bytes;
}

/** @returns `undefined` when it has another size, or flags that nobody knows. */
export function decodeSharedMapping(payload: DataView): SharedMapping | undefined {
  if (payload.byteLength !== SHMEM_MAP_SIZE) return undefined;
  const flags = get64(payload, SHMEM_MAP.flags);
  if (flags !== 0 && flags !== SHMEM_MAP_WRITABLE) return undefined;
  return {
    id: payload.getUint8(SHMEM_MAP.id),
    offset: get64(payload, SHMEM_MAP.offset),
    length: get64(payload, SHMEM_MAP.length),
    fileOffset: get64(payload, SHMEM_MAP.fileOffset),
    writable: flags === SHMEM_MAP_WRITABLE,
  };
}

/** @param sizes - of each region, by its id. */
export function encodeSharedConfig(sizes: ReadonlyMap<number, number>): Uint8Array {
  const bytes = new Uint8Array(SHMEM_CONFIG_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(SHMEM_CONFIG.count, sizes.size, true);
  for (const [id, size] of sizes) set64(view, SHMEM_CONFIG.sizes + 8 * id, size);
  return bytes;
}

/** @returns the size of each region, by its id; `undefined` when that can't be. */
export function decodeSharedConfig(payload: DataView): Map<number, number> | undefined {
  if (payload.byteLength !== SHMEM_CONFIG_SIZE) return undefined;
  const sizes = new Map<number, number>();
  for (let id = 0; id < SHMEM_CONFIG.most; id++) {
    const size = get64(payload, SHMEM_CONFIG.sizes + 8 * id);
    if (Number.isNaN(size) || size % SHARED_MEMORY_PAGE !== 0) return undefined;
    if (size !== 0) sizes.set(id, size);
  }
  return payload.getUint32(SHMEM_CONFIG.count, true) === sizes.size ? sizes : undefined;
}
