import type { Chain } from '../virtqueue/chain.js';
import type { DeviceHost, DeviceQueue } from './device.js';
import type { Layout } from './layout.js';
import type { MakeDevice } from './make-device.js';
import type { Fields, Values } from './struct.js';

/** A device's queues, in order, and by those of their names that are known: `queues[0]`, `queues.requestq`. */
export type DeviceQueues<N extends string = string> = readonly DeviceQueue[] &
  ([string] extends [N] ? unknown : { readonly [K in N]: DeviceQueue });

/** What a device's handlers reach: its driver, its configuration space, its clock. */
export interface Running<C extends Fields, N extends string = string> extends DeviceHost {
  readonly queues: DeviceQueues<N>;
  /** The fields of the configuration space, read and written in place. Call `configChanged` after a change. */
  readonly config: Values<C>;
  /** Whether the driver accepted a feature, by its name in the definition. */
  has(feature: string): boolean;
}

/** A queue whose requests are handled as they lie. */
export interface ChainQueue<C extends Fields, N extends string = string, A extends string = string> {
  /** The name in the device's own chapter, such as `requestq`: no two are the same. */
  readonly name: N;
  /** Descriptors that a driver is told to take at most: a power of two, 256 unless told. */
  readonly size?: number;
  /** Descriptors that a front-end may take which can't be told (vhost-user): 32768 unless told. */
  readonly sizeLimit?: number;
  /**
   * Handles one request: reads from the chain, writes into it. It is handed back when this returns, or when the promise
   * settles. Without `handle` the buffers stay in the queue until the device takes them (`device.queues.eventq.pop()`).
   */
  handle?(chain: Chain, device: Running<C, A>, queue: DeviceQueue): void | Promise<void>;
  /** Without `handle`: the driver posted buffers, or may have. For a device that has something waiting for one. */
  posted?(device: Running<C, A>, queue: DeviceQueue): void;
  /**
   * The queue is to be stopped, and waits for the chains that the device holds: hand them back now, with what is in them. Those that are
   * not come back when they are done, and the driver waits so long.
   */
  stopping?(device: Running<C, A>, queue: DeviceQueue): void;
  /** The shapes of its requests and responses, for traces. */
  readonly shape?: { readonly request: Layout<unknown>; readonly response?: Layout<unknown> };
}

/**
 * The type of what a device's handlers are given, for functions of one's own: `Device<typeof makeDevice>` with what `defineDevice`
 * returned, `Device<typeof Config>` with the struct of its configuration space, `Device<typeof Config, 'inflateq' | 'statsq'>` with its
 * queues' names too, `Device<'statsq'>` with names alone, plain `Device` for one that needs neither.
 */
export type Device<T = Record<never, never>, N extends string = never> = [T] extends [
  { readonly fields: infer F extends Fields },
]
  ? Running<F, N>
  : [T] extends [MakeDevice<infer C, infer M>]
    ? Running<C, M>
    : [T] extends [string]
      ? Running<Record<never, never>, T>
      : [T] extends [Fields]
        ? Running<T, N>
        : never;
