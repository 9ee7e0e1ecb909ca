import type { GuestAddress } from '../../../memory/address.js';
import type { DriverTransport } from '../../../virtio/driver-transport.js';

/** A driver's way to a device over vhost-user, with what a VMM asks of a back-end beside its driver. */
export interface VhostUserTransport extends DriverTransport {
  /** The protocol features that were negotiated, a mask of bits 0 to 63; none before the first `reset`. */
  readonly protocolFeatures: bigint;
  /** Stops all queues, each once what is in flight is finished: the device stands still, and touches no memory. */
  pause(): Promise<void>;
  /** Lets the queues go on where they stopped. */
  resume(): Promise<void>;
  /**
   * What the device is at, for another back-end of the same kind; paused before.
   *
   * @throws TransportError `REFUSED` when it has no DEVICE_STATE, or can't be saved.
   */
  saveState(): Promise<Uint8Array>;
  /**
   * Has the device go on from what another one's `saveState` said; paused before, or not started yet.
   *
   * @throws TransportError `REFUSED` when it can't.
   */
  loadState(state: Uint8Array): Promise<void>;
  /**
   * Has the back-end mark the pages that it writes to from now on, rings included, whether they run or not; until `stopLog`.
   *
   * @throws TransportError `REFUSED` when it can't.
   */
  startLog(): Promise<void>;
  /**
   * With ACCESS_PLATFORM, takes back what the back-end was told of these addresses: it touches nothing there when this resolves, until it has asked
   * anew. All of them unless told.
   *
   * @throws TransportError `REFUSED` when ACCESS_PLATFORM was not accepted.
   */
  invalidate(address?: GuestAddress, length?: number): Promise<void>;
  /** Takes back what `startLog` said. */
  stopLog(): Promise<void>;
  /** The pages of 4096 bytes that the back-end wrote to since `startLog`, or since they were taken here: by address, ascending. */
  takeDirtyPages(): GuestAddress[];
}
