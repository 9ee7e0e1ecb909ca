/** virtio-test on the wire, little-endian. The device id is the seed design's; VIRTIO 1.4 gives 45 to the SPI controller. */
export const VIRTIO_ID_TEST = 45;

/** Feature bits, as masks. */
export const VIRTIO_TEST_F_CAN_PRINT: bigint = 1n << 0n;
/** Offered by the `events` variant alone, so that one driver can tell the variants apart. */
export const VIRTIO_TEST_F_EVENTS: bigint = 1n << 1n;

/** Configuration space, 12 bytes: three le32. */
export const CONFIG = { num_pages: 0, actual: 4, event: 8, size: 12 } as const;

/** Request of the `echo` variant, 48 bytes: le32 type, arg1, arg2, arg3, then a NUL-terminated text of at most 32 bytes. */
export const REQUEST = { type: 0, arg1: 4, arg2: 8, arg3: 12, arg4: 16, size: 48 } as const;

/** Its response, 12 bytes: three le32. */
export const RESPONSE = { ret: 0, arg1: 4, arg2: 8, size: 12 } as const;

/** What a driver of the `events` variant answers a config change with: a le32 counter. */
export const COUNTER_SIZE = 4;

export interface TestRequest {
  readonly type: number;
  readonly arg1: number;
  readonly arg2: number;
  readonly arg3: number;
  readonly arg4: string;
}

export interface TestResponse {
  readonly ret: number;
  readonly arg1: number;
  readonly arg2: number;
}

/** @param bytes - `REQUEST.size` of them. Numbers come out signed, as the transcript prints them. */
export function decodeRequest(bytes: Uint8Array): TestRequest {
  const view = new DataView(bytes.buffer, bytes.byteOffset, REQUEST.size);
  const end = bytes.indexOf(0, REQUEST.arg4);
  return {
    type: view.getInt32(REQUEST.type, true),
    arg1: view.getInt32(REQUEST.arg1, true),
    arg2: view.getInt32(REQUEST.arg2, true),
    arg3: view.getInt32(REQUEST.arg3, true),
    arg4: String.fromCharCode(...bytes.subarray(REQUEST.arg4, end === -1 ? REQUEST.size : end)),
  };
}

/** @throws RangeError when the text has more than 31 characters, or one above 0xff. */
export function encodeRequest(request: TestRequest): Uint8Array {
  const bytes = new Uint8Array(REQUEST.size);
  const view = new DataView(bytes.buffer);
  view.setInt32(REQUEST.type, request.type, true);
  view.setInt32(REQUEST.arg1, request.arg1, true);
  view.setInt32(REQUEST.arg2, request.arg2, true);
  view.setInt32(REQUEST.arg3, request.arg3, true);
  if (request.arg4.length > 31) throw new RangeError('arg4 has room for 31 characters');
  for (let i = 0; i < request.arg4.length; i++) {
    const code = request.arg4.charCodeAt(i);
    if (code > 0xff) throw new RangeError('arg4 takes characters up to U+00FF');
    bytes[REQUEST.arg4 + i] = code;
  }
  return bytes;
}

/** @param bytes - `RESPONSE.size` of them. */
export function decodeResponse(bytes: Uint8Array): TestResponse {
  const view = new DataView(bytes.buffer, bytes.byteOffset, RESPONSE.size);
  return {
    ret: view.getInt32(RESPONSE.ret, true),
    arg1: view.getInt32(RESPONSE.arg1, true),
    arg2: view.getInt32(RESPONSE.arg2, true),
  };
}

/** Sums that leave 32 bits wrap. */
export function encodeResponse(response: TestResponse): Uint8Array {
  const bytes = new Uint8Array(RESPONSE.size);
  const view = new DataView(bytes.buffer);
  view.setInt32(RESPONSE.ret, response.ret, true);
  view.setInt32(RESPONSE.arg1, response.arg1, true);
  view.setInt32(RESPONSE.arg2, response.arg2, true);
  return bytes;
}
