import type { DistantMemory } from '../../../memory/distant-memory.js';
import type { Clock } from '../../../virtio/clock.js';
import type { DurablePort } from '../../../virtio/durable.js';
import type { SharedMemoryOs } from '../../../virtio/local-shared-memory.js';
import type { LogContext } from '../../../virtio/log-context.js';
import type { Monitor, Print } from '../../../virtio/monitor.js';
import type { Polled, Spin } from '../../../virtio/poller.js';
import type { InflightPlace } from '../../../virtqueue/inflight.js';

/** What the function needs of the process around it. */
export interface FunctionEnvironment {
  readonly clock: Clock;
  /** Calls back soon, from the event loop, after other work that waits had its turn. */
  defer(callback: () => void): void;
  /** Where the lines go that the device prints for its user; `undefined` when nobody reads them. */
  readonly print: Print | undefined;
  /** A line about what the driver or the device did wrong. */
  warn(line: string, about?: LogContext): void;
  /** The ring features that are offered, as far as they can be said; those of `TransportFeatures` unless told. */
  readonly ringFeatures?: bigint | undefined;
  /** What there is of an operating system for shared memory; without it, regions are memory of this process, and have no files. */
  readonly os?: SharedMemoryOs | undefined;
  /** Looks on, if anybody does. */
  readonly monitor?: Monitor | undefined;
  /** Where the device's durable memory is had; in this process unless told. */
  readonly durable?: DurablePort | undefined;
  /** The driver is ready, and the device was activated for it. */
  activated?(): void;
  /** The device goes on from what one in another process was at, which its driver had not reset. */
  readonly begun?: boolean | undefined;
  /** Looks at queues instead of waiting for kicks, if that is wished. */
  readonly poll?: ((polled: Polled) => Spin) | undefined;
}

/** What a virtio-pci function needs of whatever puts it on a bus: a VMM over vfio-user, an emulator in the same process. */
export interface PciHost {
  /** Sends the message of this MSI-X vector. */
  raise(vector: number): void;
  /** The level of the INTx line changed. */
  intx(asserted: boolean): void;
  /**
   * Carries out what a register access led to, which may use guest memory: soon, in the order of the calls, and not
   * before the access was answered if the driver waits for the answer.
   */
  perform(work: () => void): void;
  /**
   * The same for what a kick led to. It keeps its place in that order, but may wait until what else the driver wrote is seen, so that several
   * kicks are one look at the queue. As `perform` where it is absent.
   */
  performKick?(work: () => void): void;
  /** The function may master the bus from now on, or must not: then it touches no memory. */
  mastering?(allowed: boolean): void;
  /** What reaches the guest's memory while a part of it, where a buffer may be, can only be asked for. */
  distant?(): DistantMemory | undefined;
  /**
   * Memory that outlives this process, for what is in flight on a queue that is about to be served; with what an earlier one left there.
   *
   * @param size - bytes for so many entries.
   */
  inflight?(queue: number, size: number, entries: number): InflightPlace;
  /** What was in flight on a queue (on all, without a number) is nobody's any more. */
  forget?(queue?: number): void;
  /** The driver is about to be told of a change that `VirtioPciFunction.keep` has. */
  changed?(): void;
}

/** How a host wants the function to look. */
export interface PciOptions {
  /** MSI-X vectors, 0 to 2048; 0 for INTx alone. One for the configuration and one for each queue unless told. */
  readonly vectors?: number;
  /** Which BAR holds the registers, 0 to 5. Default 0. The next one (or BAR 0) holds the MSI-X table. */
  readonly bar?: number;
  /** What the registers' BAR is: memory, or I/O ports (which takes a device with few queues and a small configuration). */
  readonly kind?: 'memory' | 'io';
  /**
   * Whether the vectors' mask bits are set after a reset, as PCI wants it. A host whose client keeps the MSI-X table to
   * itself, and masks by other means, says `false`. Default `true`.
   */
  readonly maskedAtReset?: boolean;
}
