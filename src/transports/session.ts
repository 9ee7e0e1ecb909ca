import type { Clock } from '../virtio/clock.js';
import type { VirtioDevice } from '../virtio/device.js';
import type { LogContext } from '../virtio/log-context.js';
import type { Monitor, Print } from '../virtio/monitor.js';
import type { Polled, Spin } from '../virtio/poller.js';
import type { Keep } from './keep.js';
import type { Channel, Os } from './ports.js';

/** What a session needs of the process around it. */
export interface Environment {
  readonly os: Os;
  readonly clock: Clock;
  /** Calls back soon, from the event loop, after other work that waits had its turn. */
  defer(callback: () => void): void;
  /** Where the lines go that a device prints for its user; `undefined` when nobody reads them. */
  readonly print: Print | undefined;
  /** A line about what a peer or a device did wrong. */
  warn(line: string, about?: LogContext): void;
  /** Bytes of memory that the connection may share; see `DEFAULT_MAX_MEMORY`. */
  readonly maxMemory?: number | undefined;
  /** The ring features that are offered, as far as they can be said; those of `TransportFeatures` unless told. */
  readonly ringFeatures?: bigint | undefined;
  /** vhost-user: kicks and interrupts may be messages instead of eventfds (INBAND_NOTIFICATIONS). Not to be offered to QEMU. */
  readonly inband?: boolean | undefined;
  /** Looks on, if anybody does. */
  readonly monitor?: Monitor | undefined;
  /** The driver is ready, and the device was activated for it: this time, too, after a reset. */
  activated?(): void;
  /** The device goes on from what one in another process was at, which its driver had not reset. */
  readonly begun?: boolean | undefined;
  /** Looks at queues instead of waiting for kicks, if that is wished. */
  readonly poll?: ((polled: Polled) => Spin) | undefined;
  /** What another process keeps of this session, if any does: then `channel` is told with `settle` what was dealt with. */
  readonly keep?: Keep | undefined;
}

/** One connection of a front-end or client, which gets a device of its own. */
export interface Session {
  /**
   * Puts another device in the place of the one that is served. The peer and its driver go on.
   *
   * @throws ReplaceError when the driver would notice; or what the device threw. Then the old one goes on.
   */
  replace(device: VirtioDevice): void;
  /**
   * The device as bytes (`savedDevice`), once what is in flight was handed back. It goes on. Rejects with a `StateError` while the guest runs, or with
   * what the device threw.
   *
   * @param standing - the guest stands still, though its front-end may not have said so.
   */
  save(standing: boolean): Promise<Uint8Array>;
  /** The device, as another process has to know it that may take its place (`portraitOf`). @throws as `DeviceRunner.portrait`. */
  portray(): Uint8Array;
  /**
   * Leaves all to another process, but for the end of the device (`leave`): what is done within a moment is handed back before, the rest is on
   * record. Then nothing is read, touched or told any more. Resolves with what `portray` says then; rejects when that can't be said, and all
   * goes on.
   */
  yield(): Promise<Uint8Array>;
  /** Lets the device go, and nothing else: of one that was left to another process, which has the rest. */
  leave(): void;
  /** Ends the connection and lets the device and everything mapped or open go. Safe to call twice. */
  close(): void;
}

/**
 * Serves `device` on a fresh connection.
 *
 * @param ended - called once, when the peer went or broke the protocol (`error` says how, and was logged); not after `close`.
 */
export type StartSession = (
  channel: Channel,
  device: VirtioDevice,
  environment: Environment,
  ended: (error?: Error) => void,
) => Session;
