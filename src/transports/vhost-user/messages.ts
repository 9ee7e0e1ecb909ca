/*
 * The vhost-user messages (QEMU's docs/interop/vhost-user.rst). All numbers are in the host's byte order, which is
 * little-endian here. Names are the specification's, without their prefixes.
 */

/** `struct VhostUserHeader`, 12 bytes: byte offsets of its fields, each u32. */
export const HEADER = { request: 0, flags: 4, size: 8 } as const;
export const HEADER_SIZE = 12;

/** Bits of the header's flags. */
export const FLAGS = { VERSION_MASK: 0x3, VERSION: 0x1, REPLY: 0x4, NEED_REPLY: 0x8 } as const;

/** Bytes of the largest payload that is taken: twice what the largest message of the specification has. */
export const MAX_PAYLOAD_SIZE = 4096;

/** `VHOST_USER_F_PROTOCOL_FEATURES`, a virtio feature bit that no device has: protocol features can be negotiated. */
export const F_PROTOCOL_FEATURES: bigint = 1n << 30n;

/** `VHOST_F_LOG_ALL`, another one: what the back-end writes is to be marked in the log of dirty pages. */
export const VHOST_F_LOG_ALL: bigint = 1n << 26n;

/** `VHOST_USER_PROTOCOL_F_*`, as masks: those that are implemented. */
export const PROTOCOL_F = {
  MQ: 0x1n,
  LOG_SHMFD: 0x2n,
  REPLY_ACK: 0x8n,
  BACKEND_REQ: 0x20n,
  CONFIG: 0x200n,
  BACKEND_SEND_FD: 0x400n,
  INFLIGHT_SHMFD: 0x1000n,
  RESET_DEVICE: 0x2000n,
  INBAND_NOTIFICATIONS: 0x4000n,
  CONFIGURE_MEM_SLOTS: 0x8000n,
  STATUS: 0x10000n,
  DEVICE_STATE: 0x80000n,
  GET_VRING_BASE_INFLIGHT: 0x100000n,
  GPA_ADDRESSES: 0x200000n,
  SHMEM: 0x400000n,
  GET_VRING_BASE_SKIP_DRAIN: 0x800000n,
} as const;

/** `VHOST_USER_*`: what a front-end asks of a back-end. */
export const REQUEST = {
  GET_FEATURES: 1,
  SET_FEATURES: 2,
  SET_OWNER: 3,
  RESET_OWNER: 4,
  SET_MEM_TABLE: 5,
  SET_LOG_BASE: 6,
  SET_LOG_FD: 7,
  SET_VRING_NUM: 8,
  SET_VRING_ADDR: 9,
  SET_VRING_BASE: 10,
  GET_VRING_BASE: 11,
  SET_VRING_KICK: 12,
  SET_VRING_CALL: 13,
  SET_VRING_ERR: 14,
  GET_PROTOCOL_FEATURES: 15,
  SET_PROTOCOL_FEATURES: 16,
  GET_QUEUE_NUM: 17,
  SET_VRING_ENABLE: 18,
  SEND_RARP: 19,
  NET_SET_MTU: 20,
  SET_BACKEND_REQ_FD: 21,
  IOTLB_MSG: 22,
  SET_VRING_ENDIAN: 23,
  GET_CONFIG: 24,
  SET_CONFIG: 25,
  CREATE_CRYPTO_SESSION: 26,
  CLOSE_CRYPTO_SESSION: 27,
  POSTCOPY_ADVISE: 28,
  POSTCOPY_LISTEN: 29,
  POSTCOPY_END: 30,
  GET_INFLIGHT_FD: 31,
  SET_INFLIGHT_FD: 32,
  GPU_SET_SOCKET: 33,
  RESET_DEVICE: 34,
  VRING_KICK: 35,
  GET_MAX_MEM_SLOTS: 36,
  ADD_MEM_REG: 37,
  REM_MEM_REG: 38,
  SET_STATUS: 39,
  GET_STATUS: 40,
  GET_SHARED_OBJECT: 41,
  SET_DEVICE_STATE_FD: 42,
  CHECK_DEVICE_STATE: 43,
  GET_SHMEM_CONFIG: 44,
  GET_VRING_BASE_SKIP_DRAIN: 45,
} as const;

/** `VHOST_USER_BACKEND_*`: what a back-end asks of a front-end, on the channel of `SET_BACKEND_REQ_FD`. */
export const BACKEND_REQUEST = {
  IOTLB_MSG: 1,
  CONFIG_CHANGE_MSG: 2,
  VRING_CALL: 4,
  VRING_ERR: 5,
  SHMEM_MAP: 9,
  SHMEM_UNMAP: 10,
} as const;

const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(REQUEST).map(([name, request]) => [request, name]),
);

/** The request's name in the specification, for messages. */
export function requestName(request: number): string {
  return NAMES.get(request) ?? `message ${request}`;
}

/**
 * What a back-end answers also when it refuses it, or does not know it: a front-end that asks all the same must get some answer, or it waits for
 * ever.
 */
export const ANSWERED_ELSEWHERE: ReadonlySet<number> = new Set([
  REQUEST.SET_LOG_BASE,
  REQUEST.IOTLB_MSG,
  REQUEST.CREATE_CRYPTO_SESSION,
  REQUEST.POSTCOPY_ADVISE,
  REQUEST.POSTCOPY_END,
  REQUEST.GET_SHARED_OBJECT,
  REQUEST.SET_DEVICE_STATE_FD,
  REQUEST.CHECK_DEVICE_STATE,
  REQUEST.GET_SHMEM_CONFIG,
  REQUEST.GET_VRING_BASE_SKIP_DRAIN,
]);

/** The u64 of the messages that hand over a vring's event: which vring, and whether a descriptor comes along. */
export const VRING_FD = { INDEX_MASK: 0xff, NOFD: 0x100 } as const;

/** The u64 that answers a request which failed. Bit 8 says, where a reply may carry a descriptor, that none comes. */
export const FAILURE = 0x101n;

/** A vring state description, 8 bytes: u32 index, u32 num. */
export const VRING_STATE = { index: 0, num: 4 } as const;
export const VRING_STATE_SIZE = 8;

/** A vring address description, 40 bytes: u32 index, u32 flags, then u64 addresses in the front-end's memory. */
export const VRING_ADDR = { index: 0, flags: 4, descriptor: 8, used: 16, available: 24, log: 32 } as const;
export const VRING_ADDR_SIZE = 40;
/** Of its flags: what is written to the device area is marked in the log, its first byte as the one at the address `log`. */
export const VHOST_VRING_F_LOG = 1;

/** A log description, 16 bytes: u64 size, u64 offset in the file. */
export const LOG = { size: 0, offset: 8 } as const;
export const LOG_SIZE = 16;

/** An inflight description: u64 size and offset in the file, u16 queues and their size. With or without the 4 bytes that C puts after it. */
export const INFLIGHT = { mmapSize: 0, mmapOffset: 8, queues: 16, queueSize: 18 } as const;
export const INFLIGHT_SIZE = 20;
export const INFLIGHT_PADDED_SIZE = 24;

/** A memory region description, 32 bytes, all u64. */
export const REGION = { guestAddress: 0, size: 8, userAddress: 16, mmapOffset: 24 } as const;
export const REGION_SIZE = 32;

/** A single memory region description, 40 bytes: u64 padding, the region. */
export const SINGLE_REGION = { region: 8 } as const;
export const SINGLE_REGION_SIZE = 40;

/** Multiple memory regions: u32 number, u32 padding, the regions. */
export const REGIONS = { count: 0, regions: 8 } as const;

/** `struct vhost_iotlb_msg`, 32 bytes with its padding, of which the document has the first 26: u64 iova, size and user address, u8 permissions and type. */
export const IOTLB = { iova: 0, size: 8, userAddress: 16, access: 24, type: 25 } as const;
export const IOTLB_SIZE = { least: 26, most: 32 } as const;

/** What an IOTLB message is. */
export const IOTLB_TYPE = { MISS: 1, UPDATE: 2, INVALIDATE: 3, ACCESS_FAIL: 4 } as const;

/** A piece of the configuration space: u32 offset, u32 size, u32 flags, `size` bytes. */
export const CONFIG = { offset: 0, size: 4, flags: 8, payload: 12 } as const;
/** Bytes of the configuration space that a message can carry. */
export const MAX_CONFIG_SIZE = 256;

/** Device state transfer parameters, 8 bytes: u32 direction, u32 phase. */
export const DEVICE_STATE = { direction: 0, phase: 4 } as const;
export const DEVICE_STATE_SIZE = 8;
/** Which way the state goes: from the back-end, or to it; and when: while all rings are stopped. */
export const STATE_DIRECTION = { SAVE: 0, LOAD: 1 } as const;
export const STATE_PHASE = { STOPPED: 0 } as const;
/** The u64 that answers SET_DEVICE_STATE_FD: it works, and over the front-end's own pipe. */
export const STATE_NOFD = 0x100n;

/** A shared memory configuration, 2056 bytes: u32 number of regions, u32 padding, u64 size of each by its id; 0 for those that are not. */
export const SHMEM_CONFIG = { count: 0, sizes: 8, most: 256 } as const;
export const SHMEM_CONFIG_SIZE = 2056;

/** A mapping of shared memory, 40 bytes: u8 region, padding, then u64 offset in the file, offset in the region, length and flags. */
export const SHMEM_MAP = { id: 0, fileOffset: 8, offset: 16, length: 24, flags: 32 } as const;
export const SHMEM_MAP_SIZE = 40;
/** Of its flags: the driver may write there. */
export const SHMEM_MAP_WRITABLE = 1;

/** Bytes that a request's payload must have: [least, most]. What is not here may have any number. */
export const PAYLOAD_SIZE: ReadonlyMap<number, readonly [least: number, most: number]> = new Map([
  [REQUEST.GET_FEATURES, [0, 0]],
  [REQUEST.SET_FEATURES, [8, 8]],
  [REQUEST.SET_OWNER, [0, 0]],
  [REQUEST.RESET_OWNER, [0, 0]],
  [REQUEST.SET_MEM_TABLE, [REGIONS.regions, MAX_PAYLOAD_SIZE]],
  // Without LOG_SHMFD it has an address of 8 bytes.
  [REQUEST.SET_LOG_BASE, [8, LOG_SIZE]],
  // The document says none; some say a number.
  [REQUEST.SET_LOG_FD, [0, 8]],
  [REQUEST.SET_VRING_NUM, [VRING_STATE_SIZE, VRING_STATE_SIZE]],
  [REQUEST.SET_VRING_ADDR, [VRING_ADDR_SIZE, VRING_ADDR_SIZE]],
  [REQUEST.SET_VRING_BASE, [VRING_STATE_SIZE, VRING_STATE_SIZE]],
  [REQUEST.GET_VRING_BASE, [VRING_STATE_SIZE, VRING_STATE_SIZE]],
  [REQUEST.SET_VRING_KICK, [8, 8]],
  [REQUEST.SET_VRING_CALL, [8, 8]],
  [REQUEST.SET_VRING_ERR, [8, 8]],
  [REQUEST.GET_PROTOCOL_FEATURES, [0, 0]],
  [REQUEST.SET_PROTOCOL_FEATURES, [8, 8]],
  [REQUEST.GET_QUEUE_NUM, [0, 0]],
  [REQUEST.SET_VRING_ENABLE, [VRING_STATE_SIZE, VRING_STATE_SIZE]],
  [REQUEST.SET_BACKEND_REQ_FD, [0, 0]],
  [REQUEST.IOTLB_MSG, [IOTLB_SIZE.least, IOTLB_SIZE.most]],
  [REQUEST.GET_CONFIG, [CONFIG.payload, CONFIG.payload + MAX_CONFIG_SIZE]],
  [REQUEST.SET_CONFIG, [CONFIG.payload, CONFIG.payload + MAX_CONFIG_SIZE]],
  [REQUEST.GET_INFLIGHT_FD, [INFLIGHT_SIZE, INFLIGHT_PADDED_SIZE]],
  [REQUEST.SET_INFLIGHT_FD, [INFLIGHT_SIZE, INFLIGHT_PADDED_SIZE]],
  [REQUEST.GET_VRING_BASE_SKIP_DRAIN, [VRING_STATE_SIZE, VRING_STATE_SIZE]],
  [REQUEST.RESET_DEVICE, [0, 0]],
  [REQUEST.VRING_KICK, [VRING_STATE_SIZE, VRING_STATE_SIZE]],
  [REQUEST.GET_MAX_MEM_SLOTS, [0, 0]],
  [REQUEST.ADD_MEM_REG, [SINGLE_REGION_SIZE, SINGLE_REGION_SIZE]],
  [REQUEST.REM_MEM_REG, [SINGLE_REGION_SIZE, SINGLE_REGION_SIZE]],
  [REQUEST.SET_STATUS, [8, 8]],
  [REQUEST.GET_STATUS, [0, 0]],
  [REQUEST.SET_DEVICE_STATE_FD, [DEVICE_STATE_SIZE, DEVICE_STATE_SIZE]],
  [REQUEST.CHECK_DEVICE_STATE, [0, 0]],
  [REQUEST.GET_SHMEM_CONFIG, [0, 0]],
]);
