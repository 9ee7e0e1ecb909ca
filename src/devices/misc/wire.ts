/** virtio-misc on the wire: timers for a guest. Everything is little-endian. */
export const VIRTIO_ID_MISC = 70;

/** Queue indices: requests from the driver, and buffers that the driver posts for notifications. */
export const CONTROLQ = 0;
export const NOTIFYQ = 1;

/** Feature bits, as masks. */
export const VIRTIO_MISC_F_CANCEL: bigint = 1n << 0n;
export const VIRTIO_MISC_F_PERIODIC: bigint = 1n << 1n;
export const VIRTIO_MISC_F_NSEC: bigint = 1n << 2n;

/** Configuration space, 4 bytes: le32 max_timers, how many timers can be armed or undelivered at a time. */
export const CONFIG = { max_timers: 0, size: 4 } as const;

/** Request types, the first le32 of each request. */
export const VIRTIO_MISC_SET_TIMER = 1;
export const VIRTIO_MISC_CANCEL_TIMER = 2;
export const VIRTIO_MISC_SET_TIMER_NS = 3;

/** 12 bytes: le32 type, le32 delay_ms, le32 request_id. */
export const SET_TIMER = { type: 0, delay_ms: 4, request_id: 8, size: 12 } as const;
/** 12 bytes: le32 type, le32 reserved, le32 request_id. Needs `VIRTIO_MISC_F_CANCEL`. */
export const CANCEL_TIMER = { type: 0, reserved: 4, request_id: 8, size: 12 } as const;
/** 24 bytes: le32 type, le32 request_id, le64 delay_ns, le64 interval_ns. Needs `VIRTIO_MISC_F_NSEC`; an interval other than 0 needs `VIRTIO_MISC_F_PERIODIC`. */
export const SET_TIMER_NS = { type: 0, request_id: 4, delay_ns: 8, interval_ns: 16, size: 24 } as const;

/** The device-writable part of a request, if it has one: le32 status. */
export const STATUS_SIZE = 4;
export const STATUS = {
  OK: 0,
  /** An unknown type, or one whose feature was not negotiated. */
  UNSUPPORTED: 1,
  /** The request is shorter than its struct. */
  INVALID: 2,
  /** A timer with this id is armed, or expired and not delivered. */
  EXISTS: 3,
  /** No such timer. */
  NOT_FOUND: 4,
  /** `max_timers` are armed or undelivered. */
  NO_SPACE: 5,
} as const;
export type Status = (typeof STATUS)[keyof typeof STATUS];

/** The first le32 of a notification. */
export const VIRTIO_MISC_TIMER_EXPIRED = 1;

/** 8 bytes: le32 type, le32 request_id; a buffer of 16 bytes also gets le64 expirations since the last one delivered. */
export const NOTIFICATION = { type: 0, request_id: 4, expirations: 8, size: 8, sizeWithCount: 16 } as const;
