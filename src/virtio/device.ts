import type { Chain } from '../virtqueue/chain.js';
import type { Clock } from './clock.js';
import type { ConfigSpace } from './config-space.js';
import type { ControlInfo } from './control-info.js';
import type { DurableMemory } from './durable.js';
import type { Layout } from './layout.js';
import type { LogContext } from './log-context.js';
import type { DeviceSharedMemory, SharedMemorySpec } from './shared-memory.js';

/** A queue that a device has. */
export interface QueueSpec {
  /** The name in the device's own chapter, such as `controlq`. */
  readonly name: string;
  /**
   * Descriptors: a power of two, at most 32768 (VIRTIO 1.3 §2.7). A driver that can be told (PCI, loopback) takes no more. A vhost-user
   * front-end can't be, and takes what it likes, up to `sizeLimit`.
   */
  readonly size: number;
  /** The most descriptors of a front-end that was not told: 32768 unless the device names fewer. */
  readonly sizeLimit?: number | undefined;
  /** The shapes of its requests and responses, for traces. */
  readonly shape?: { readonly request: Layout<unknown>; readonly response?: Layout<unknown> } | undefined;
}

/**
 * A virtio device: what it is, and what it does with its queues. It knows no transport, no socket and no clock of its
 * own. All methods are called one at a time on one thread.
 *
 * The life of one device: made for one front-end; `activate` ... `reset`, any number of times; `close`. When its code was edited,
 * another is made to take its place while the driver goes on: the old one's `save`, the new one's `restore` and `activate` (if the
 * old one was active). The new one gets chains once that has returned. If any of them throws, the old one goes on instead; otherwise it
 * hears so (`replaced`), gets no more chains and no reset, hands back those that it holds and that the new one did not adopt, and is
 * closed after the last. Until then its alarms ring.
 */
export interface VirtioDevice {
  /** The virtio device id (VIRTIO 1.3 §5). */
  readonly id: number;
  /** For log lines, such as `virtio-test`. */
  readonly name: string;
  /** The device-type feature bits it offers: bits 0-23 and 50-127 (§2.2). Ring features are not the device's business. */
  readonly features: bigint;
  readonly queues: readonly QueueSpec[];
  /** Its configuration space (§2.5). */
  readonly config: ConfigSpace;
  /** What the configuration space consists of, for whoever looks on. */
  readonly configLayout?: Layout<unknown> | undefined;
  /** The bits of `features` by name, likewise. */
  readonly featureNames?: Readonly<Record<string, number>>;
  /** Memory that it shares with its driver beside the queues (§2.10). It has none unless told. */
  readonly sharedMemory?: readonly SharedMemorySpec[] | undefined;

  /** The driver is ready (DRIVER_OK, §3.1.1 step 8). `host` is good until `reset`. */
  activate?(host: DeviceHost): void;
  /** The driver made buffers available on this queue, or may have: pop until there is none. */
  queueNotified(queue: DeviceQueue): void;
  /**
   * This queue is to be stopped, which waits for the chains that the device holds: those that can be handed back now should be. It gets no
   * more from it until the queue is started again.
   */
  queueStopping?(queue: DeviceQueue): void;
  /** Back to the state before `activate`, whatever went on: chains still held are gone, timers end (§2.4). */
  reset?(): void;
  /** The driver wrote `length` bytes of the configuration space at `offset`; they are in `config` already. */
  configWritten?(offset: number, length: number): void;
  /** What a device with new code is to go on with. Changes nothing: this one may have to go on itself. */
  save?(): unknown;
  /**
   * Goes on from what another device's `save` returned, if that was not `undefined`; before `activate`. Its code was another, so look
   * before you believe. The value is the very same, not a copy: chains in it can be adopted by this device (`DeviceQueue.adopt`).
   */
  restore?(state: unknown): void;
  /** Another device has this one's place. Chains that are pushed now come back before the other one is served. */
  replaced?(): void;
  /** What a person may ask of it while it runs. */
  readonly controls?: readonly ControlInfo[];
  /**
   * Does what a person asks.
   *
   * @param words - values in the order of `usage`, or `name=value`.
   * @returns what is to be shown: a text, or anything that JSON has. Rejects with what is to be said instead.
   */
  control?(name: string, words: readonly string[]): Promise<unknown>;
  /** Gives back what it holds, after the last `reset`, or when another has its place. */
  close?(): void;
}

/** What a device is given with `activate`. */
export interface DeviceHost {
  /** The device-type feature bits that the driver accepted, a subset of those offered. */
  readonly features: bigint;
  /** One for each of the device's queues, in order. A queue that the driver did not set up is always empty. */
  readonly queues: readonly DeviceQueue[];
  /**
   * Stands still while the guest does (all rings stopped), as a VMM's virtual clock. Its alarms end with `reset`. Where the device has durable
   * memory, the next process's clock goes on from it, as if there had been one process: times can be left there.
   */
  readonly clock: Clock;
  /** The device's shared memory regions, by id. What is written there stays over a reset. */
  readonly sharedMemory: ReadonlyMap<number, DeviceSharedMemory>;
  /**
   * Memory in which the device leaves behind what it wants to find again when it starts anew without its driver having noticed: after its process
   * died, where a keeper keeps it (as `serve` does), and after its code was edited (`found` says whether it was there).
   *
   * A driver's reset takes all of it away, as one step: the device starts afresh then, and the next `activate` finds none. So does a front-end
   * that leaves, and a state that is restored from bytes. What other code wrote, check before you believe it: with another layout take another name.
   *
   * @param name - up to 63 letters, digits, `_`, `-` and `.`.
   * @param size - bytes: 1 to 2^40 for all names together (2^32 where nothing is kept). They take no room before they are written to.
   * @throws TypeError for a name that can't be; RangeError for a size that can't be, another one than before, or more than 256 names; OsError
   *   when there is no memory to be had.
   */
  durable(name: string, size: number): DurableMemory;
  /** Tells the driver that the device changed its configuration space (§2.5). Kept while the guest stands still. */
  configChanged(): void;
  /**
   * A line that the device itself prints for its user. Given as a function, it is made only if somebody reads it, of the values that come with it: a line
   * for each request then costs nothing while nobody does. Where some are read (`--inspect`), a function that is written once costs least:
   * `print(shown, type, id)`.
   */
  print<V extends readonly unknown[]>(line: string | ((...values: V) => string), ...values: V): void;
  /** A line about what a device or a driver did wrong, for whoever runs it. */
  warn(line: string, about?: LogContext): void;
}

/** The device's handle on one of its queues. A driver's mistake breaks the queue, never the device: it is then empty. */
export interface DeviceQueue {
  readonly index: number;
  readonly name: string;
  /** Whether the driver set it up, and it can be served: it is neither stopped nor broken. */
  readonly ready: boolean;
  /** The next chain, or `undefined` when there is none (or the queue is stopped or broken). */
  pop(): Chain | undefined;
  /**
   * Hands a chain back with what was written into it. Ignored for a chain from before a reset, and for one that the device which took this
   * one's place adopted.
   */
  push(chain: Chain): void;
  /**
   * Takes over a chain that the device whose place this one takes popped from the same queue: it is this device's to push from now on, and the
   * other one is let go sooner. From `activate` on.
   */
  adopt(chain: Chain): void;
  /**
   * A number of a chain that this device popped and did not push, 1 to 2^32 - 1, by which the next process's device knows it too, when this process
   * dies and it pops that chain anew. No chain of this queue that the driver is still owed has the same.
   *
   * @returns `undefined` where nobody keeps what is in flight (see `host.durable`): no chain is then popped twice.
   */
  serialOf(chain: Chain): number | undefined;
  /**
   * Whether the driver is still owed a chain: it was not handed back, or not shown to the driver yet (`flush` does that, unless the driver keeps
   * its memory to itself for now). `false` where `serialOf` has no number.
   *
   * @param head - of the chain (`Chain.head`), popped by this process or one before it.
   * @param serial - its serial number.
   * @returns `undefined` while that is not known: the queue is not started yet, or was not read yet.
   */
  isOut(head: number, serial: number): boolean | undefined;
  /** For what the driver did wrong, found outside of a call into the device: the queue is empty until it is reset. */
  fail(error: Error): void;
  /**
   * Shows the driver what was pushed and interrupts it if it wants that. Done by itself when a call into the device
   * (or an alarm of `host.clock`) returns, so only needed after a push from anywhere else.
   */
  flush(): void;
}
