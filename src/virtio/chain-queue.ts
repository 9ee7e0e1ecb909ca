import type { Chain } from '../virtqueue/chain.js';
import type { DeviceHost, DeviceQueue } from './device.js';
import type { Fields, Struct, Values } from './struct.js';

/** What a device's handlers reach: its driver, its configuration space, its clock. */
export interface Running<C extends Fields> extends DeviceHost {
  /** The fields of the configuration space, read and written in place. Call `configChanged` after a change. */
  readonly config: Values<C>;
  /** Whether the driver accepted a feature, by its name in the definition. */
  has(feature: string): boolean;
}

/** A queue whose requests are handled as they lie. */
export interface ChainQueue<C extends Fields> {
  /** The name in the device's own chapter, such as `requestq`. */
  readonly name: string;
  /** Descriptors that a driver is told to take at most: a power of two, 256 unless told. */
  readonly size?: number;
  /** Descriptors that a front-end may take which can't be told (vhost-user): 32768 unless told. */
  readonly sizeLimit?: number;
  /**
   * Handles one request: reads from the chain, writes into it. It is handed back when this returns, or when the promise
   * settles. Without `handle` the buffers stay in the queue until the device takes them (`device.queues[i].pop()`).
   */
  handle?(chain: Chain, device: Running<C>, queue: DeviceQueue): void | Promise<void>;
  /** Without `handle`: the driver posted buffers, or may have. For a device that has something waiting for one. */
  posted?(device: Running<C>, queue: DeviceQueue): void;
  /** The shapes of its requests and responses, for traces. */
  readonly shape?: { readonly request: Struct<Fields>; readonly response?: Struct<Fields> };
}
