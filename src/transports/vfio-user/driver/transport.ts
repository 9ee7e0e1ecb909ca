import type { GuestAddress } from '../../../memory/address.js';
import type { DriverTransport } from '../../../virtio/driver-transport.js';
import type { Channel } from '../../ports.js';

/** A driver's way to a device over vfio-user, with what a VMM asks of a server beside its driver. */
export interface VfioUserTransport extends DriverTransport {
  /**
   * Moves the device to another server, as a VMM that migrates would: it is stopped, its state is given to the other one, and it goes on
   * there. Its driver and what that has under way go on too; the first server is left.
   *
   * @param path - where the other one listens.
   * @throws OsError when nobody listens there; TransportError when one of the two can't: then the device goes on where it was, if that is
   *   still there.
   */
  moveTo(path: string): Promise<void>;
  /**
   * Has the server mark the pages that the device writes from now on, rings included. A server that the device is moved to marks none.
   *
   * @throws TransportError `REFUSED` when it can't.
   */
  startLog(): Promise<void>;
  /** Takes back what `startLog` said. */
  stopLog(): Promise<void>;
  /** The pages of 4096 bytes that were written since `startLog`, or since they were taken: by address, ascending. */
  takeDirtyPages(): Promise<GuestAddress[]>;
}

/** The same, where connections have no paths. */
export interface MovableTransport extends Omit<VfioUserTransport, 'moveTo'> {
  /** As `moveTo`. @param channel - connected to the other server; closed when this fails. */
  move(channel: Channel): Promise<void>;
}
