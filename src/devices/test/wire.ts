import { le32, type StructOf, sle32, struct, text } from '../../virtio/struct.js';

/** The id is the seed design's; VIRTIO 1.4 gives 45 to the SPI controller. */
export const VIRTIO_ID_TEST = 45;

/** Feature bits by name: EVENTS is offered by the `events` variant alone, so that one driver can tell the variants apart. */
export const FEATURES = { CAN_PRINT: 0, EVENTS: 1 } as const;

export interface TestConfig {
  num_pages: number;
  actual: number;
  event: number;
}
/** Configuration space, 12 bytes. */
export const Config: StructOf<TestConfig> = struct({ num_pages: le32, actual: le32, event: le32 });

export interface TestRequest {
  type: number;
  arg1: number;
  arg2: number;
  arg3: number;
  arg4: string;
}
/** Request of the `echo` variant, 48 bytes. */
export const Request: StructOf<TestRequest> = struct({
  type: sle32,
  arg1: sle32,
  arg2: sle32,
  arg3: sle32,
  arg4: text(32),
});

export interface TestResponse {
  ret: number;
  arg1: number;
  arg2: number;
}
/** Its response, 12 bytes. */
export const Response: StructOf<TestResponse> = struct({ ret: sle32, arg1: sle32, arg2: sle32 });

/** What a driver of the `events` variant answers a config change with, 4 bytes; several may come in one request. */
export const Counter: StructOf<{ num: number }> = struct({ num: sle32 });
