/*
 * The three areas of a split virtqueue in guest memory (VIRTIO 1.3 §2.7). All fields are little-endian. `size` is the
 * queue size: a power of two, at most 32768.
 */

/** Largest queue size (§2.7). */
export const MAX_QUEUE_SIZE = 32768;

/** The chain continues at `next` (§2.7.5). */
export const VIRTQ_DESC_F_NEXT = 1;
/** The buffer is device-writable; device-readable without it. */
export const VIRTQ_DESC_F_WRITE = 2;
/** The buffer holds a table of descriptors (§2.7.5.3). */
export const VIRTQ_DESC_F_INDIRECT = 4;
/** In `virtq_avail.flags`: the driver wants no interrupts (§2.7.6). */
export const VIRTQ_AVAIL_F_NO_INTERRUPT = 1;
/** In `virtq_used.flags`: the device wants no kicks (§2.7.8). */
export const VIRTQ_USED_F_NO_NOTIFY = 1;

/** `struct virtq_desc` (§2.7.5), 16 bytes: byte offsets of its fields. */
export const VIRTQ_DESC = {
  /** le64, guest-physical. */
  addr: 0,
  /** le32, bytes. */
  len: 8,
  /** le16. */
  flags: 12,
  /** le16, an index in the same table. */
  next: 14,
} as const;
export const VIRTQ_DESC_SIZE = 16;

/** `struct virtq_avail` (§2.7.6): le16 flags, le16 idx, le16 ring[size], le16 used_event. */
export const VIRTQ_AVAIL = { flags: 0, idx: 2, ring: 4 } as const;

/** `struct virtq_used` (§2.7.8): le16 flags, le16 idx, struct virtq_used_elem ring[size], le16 avail_event. */
export const VIRTQ_USED = { flags: 0, idx: 2, ring: 4 } as const;

/** `struct virtq_used_elem` (§2.7.8), 8 bytes: le32 id, le32 len. */
export const VIRTQ_USED_ELEM = { id: 0, len: 4 } as const;
export const VIRTQ_USED_ELEM_SIZE = 8;

/** What each area's address is a multiple of (§2.7). */
export const AREA_ALIGNMENT = { descriptor: 16, driver: 2, device: 4 } as const;

/** Bytes of the descriptor area (the descriptor table). */
export function descriptorAreaSize(size: number): number {
  return VIRTQ_DESC_SIZE * size;
}

/** Bytes of the driver area (the available ring), `used_event` included whether negotiated or not, as in §2.7. */
export function driverAreaSize(size: number): number {
  return 6 + 2 * size;
}

/** Bytes of the device area (the used ring), `avail_event` included whether negotiated or not, as in §2.7. */
export function deviceAreaSize(size: number): number {
  return 6 + VIRTQ_USED_ELEM_SIZE * size;
}

/** Offset of `used_event` in the driver area: where the driver says which used entry it wants an interrupt for. */
export function usedEventOffset(size: number): number {
  return VIRTQ_AVAIL.ring + 2 * size;
}

/** Offset of `avail_event` in the device area: where the device says which available entry it wants a kick for. */
export function availEventOffset(size: number): number {
  return VIRTQ_USED.ring + VIRTQ_USED_ELEM_SIZE * size;
}

/** Whether a split virtqueue can have this size (§2.7). */
export function isQueueSize(size: number): boolean {
  return Number.isInteger(size) && size >= 1 && size <= MAX_QUEUE_SIZE && (size & (size - 1)) === 0;
}
