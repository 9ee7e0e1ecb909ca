/*
 * The three areas of a packed virtqueue in guest memory (VIRTIO 1.3 §2.8). All fields are little-endian. `size` is the queue size: any
 * number up to 32768. A place in the ring is an offset in descriptors with a wrap counter, 15 bits and one: that of the side whose place it is.
 */

/** Largest queue size (§2.8). */
export const MAX_QUEUE_SIZE = 32768;

/** The chain continues in the next descriptor of the ring (§2.8.6). */
export const VIRTQ_DESC_F_NEXT = 1;
/** Available: the element is device-writable (§2.8.3). Used: the device has written to the buffer. */
export const VIRTQ_DESC_F_WRITE = 2;
/** The element holds a table of descriptors (§2.8.7). */
export const VIRTQ_DESC_F_INDIRECT = 4;
/** Available: the driver's wrap counter. Used: the device's (§2.8.1). */
export const VIRTQ_DESC_F_AVAIL = 0x80;
/** Available: the opposite of the driver's wrap counter. Used: the device's. */
export const VIRTQ_DESC_F_USED = 0x8000;

/** `struct pvirtq_desc` (§2.8.13), 16 bytes: byte offsets of its fields. */
export const PVIRTQ_DESC = {
  /** le64, guest-physical. */
  addr: 0,
  /** le32, bytes. */
  len: 8,
  /** le16, the buffer's: in the last descriptor of a chain, and in a used one. */
  id: 12,
  /** le16. */
  flags: 14,
} as const;
export const PVIRTQ_DESC_SIZE = 16;

/** `struct pvirtq_event_suppress` (§2.8.14), 4 bytes. */
export const PVIRTQ_EVENT_SUPPRESS = {
  /** le16: a place in the ring. */
  desc: 0,
  /** le16: the lowest two bits. */
  flags: 2,
} as const;
export const PVIRTQ_EVENT_SUPPRESS_SIZE = 4;

/** Tell me of everything (§2.8.10). */
export const RING_EVENT_FLAGS_ENABLE = 0;
/** Tell me of nothing. */
export const RING_EVENT_FLAGS_DISABLE = 1;
/** With EVENT_IDX: tell me of the descriptor at `desc`. */
export const RING_EVENT_FLAGS_DESC = 2;

/** What each area's address is a multiple of (§2.8.10.1). */
export const AREA_ALIGNMENT = { descriptor: 16, driver: 4, device: 4 } as const;

/** Both places of a new ring, the next available one below and the next used one above (§2.8.1): offset 0, wrap counter 1. */
export const FRESH_BASE = 0x8000_8000;

/** The flags that say whose a descriptor is. */
export const OWNER_FLAGS: number = VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED;

/** Bytes of the descriptor area (the ring). */
export function descriptorAreaSize(size: number): number {
  return PVIRTQ_DESC_SIZE * size;
}

/** What the owner flags of an available descriptor are, by the driver's wrap counter (§2.8.1). */
export function availableFlags(wrap: boolean): number {
  return wrap ? VIRTQ_DESC_F_AVAIL : VIRTQ_DESC_F_USED;
}

/** What the owner flags of a used descriptor are, by the device's wrap counter (§2.8.1). */
export function usedFlags(wrap: boolean): number {
  return wrap ? OWNER_FLAGS : 0;
}

/** Whether a packed virtqueue can have this size (§2.8). */
export function isQueueSize(size: number): boolean {
  return Number.isInteger(size) && size >= 1 && size <= MAX_QUEUE_SIZE;
}
