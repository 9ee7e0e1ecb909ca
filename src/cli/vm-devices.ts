import type { DeviceOutline } from '../keeper/frames.js';
import { checkChoice, PCI_FEATURES, VHOST_USER_FEATURES } from '../transports/transport-features.js';
import type { Print } from '../virtio/monitor.js';
import type { ConsolePipe } from '../vm/console.js';
import type { NamedDevice } from './device-options.js';
import type { Logger } from './log.js';
import { bestTransport, deviceArgs, type TransportName } from './qemu-args.js';
import { UsageError } from './usage-error.js';
import type { VmOptions } from './vm-options.js';

/** What those who serve a guest's devices are given. */
export interface DevicesHost {
  readonly devices: readonly NamedDevice[];
  readonly options: VmOptions;
  /** For sockets; its owner removes it. */
  readonly folder: string;
  readonly log: Logger;
  /** Shows a device's lines. */
  print(device: string): Print;
}

/** A device that waits for its guest. */
export interface AttachedDevice {
  readonly device: DeviceOutline;
  readonly transport: TransportName;
  readonly socket: string;
  /** The process that runs it, where that is not this one. */
  readonly pid?: number;
}

/** The devices of a guest. */
export interface GuestDevices {
  readonly attached: readonly AttachedDevice[];
  /** The guest's console, where devices in other processes say something in between. */
  readonly console?: ConsolePipe | undefined;
  /** Resolves when they have said what they have to say. */
  close(): Promise<void>;
}

/**
 * The transport for a device.
 *
 * @throws UsageError, TypeError when QEMU, or what was asked for, does not go with it.
 */
export function transportFor(
  device: DeviceOutline,
  { transport, machine, features }: VmOptions,
): TransportName {
  const chosen = transport ?? bestTransport(device, machine);
  // Says what is wrong with it.
  deviceArgs(device, chosen, '', '', machine);
  checkChoice(features ?? {}, [chosen === 'vhost-user' ? VHOST_USER_FEATURES : PCI_FEATURES]);
  return chosen;
}

/** @throws UsageError */
export function checkVectors(transports: readonly TransportName[], { vectors }: VmOptions): void {
  if (vectors !== undefined && !transports.includes('vfio-user'))
    throw new UsageError('--vectors needs a device over vfio-user');
}
