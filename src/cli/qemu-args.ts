import type { DeviceOutline } from '../keeper/frames.js';
import type { Machine } from '../vm/boot-options.js';
import { UsageError } from './usage-error.js';

export type TransportName = 'vhost-user' | 'vfio-user';

/** Of vfio-user-pci: how long it waits for an answer before it takes the device for lost, ms. 5000 unless told. */
export const PATIENCE = 'x-msg-timeout';
/** A process that is started anew (by a keeper), or stands at a breakpoint, is back within that. */
export const PATIENT = 60_000;

const NO_PCI = 'machine microvm has virtio-mmio alone, and there is no vfio-user over that';

/** Why a stock QEMU can't take this device over vhost-user; `undefined` when it can. */
export function vhostUserObstacle(device: DeviceOutline): string | undefined {
  // QEMU's table of names ends there and has a hole: it stops on an assertion.
  if (device.id > 45 || (device.id >= 42 && device.id <= 44)) {
    return `QEMU aborts on vhost-user devices with id ${device.id}`;
  }
  return undefined;
}

/** The transport that works for this device with a stock QEMU. */
export function bestTransport(device: DeviceOutline, machine?: Machine): TransportName {
  return machine === 'microvm' || vhostUserObstacle(device) === undefined ? 'vhost-user' : 'vfio-user';
}

/**
 * QEMU's arguments for guest memory that the device can see.
 *
 * @param size - as QEMU writes it, such as `256M`.
 * @param machine - QEMU's own default when absent.
 */
export function memoryArgs(size: string, machine?: Machine): string[] {
  const kind =
    machine === undefined ? [] : machine === 'microvm' ? [machine, 'pit=off', 'pic=off'] : [machine];
  return [
    '-m',
    size,
    '-object',
    `memory-backend-memfd,id=mem,size=${size},share=on`,
    '-machine',
    [...kind, 'memory-backend=mem'].join(),
    // It would be a legacy device otherwise, in which a driver finds no VERSION_1.
    ...(machine === 'microvm' ? ['-global', 'virtio-mmio.force-legacy=off'] : []),
  ];
}

/**
 * QEMU's arguments for one served device.
 *
 * @param name - tells several apart in one command line.
 * @param patience - ms that a QEMU which has the property is to wait for an answer.
 * @throws UsageError when a stock QEMU can't take it over this transport.
 */
export function deviceArgs(
  device: DeviceOutline,
  transport: TransportName,
  socket: string,
  name: string,
  machine?: Machine,
  patience?: number,
): string[] {
  if (machine === 'microvm' && transport === 'vfio-user')
    throw new UsageError(`${NO_PCI}: take vhost-user, or another machine`);
  if (transport === 'vfio-user') {
    const properties = {
      driver: 'vfio-user-pci',
      socket: { type: 'unix', path: socket },
      ...(patience !== undefined && { [PATIENCE]: patience }),
    };
    return ['-device', JSON.stringify(properties)];
  }
  const obstacle = vhostUserObstacle(device);
  if (obstacle !== undefined)
    throw new UsageError(
      machine === 'microvm'
        ? `${obstacle}, and ${NO_PCI}: take another machine`
        : `${obstacle}: serve it with --vfio-user`,
    );
  const properties = [
    machine === 'microvm' ? 'vhost-user-test-device' : 'vhost-user-test-device-pci',
    `chardev=${name}`,
    `virtio-id=${device.id}`,
    `num_vqs=${device.queues.length}`,
    `vq_size=${Math.max(...device.queues.map((queue) => queue.size))}`,
    `config_size=${device.config.size}`,
  ];
  return ['-chardev', `socket,id=${name},path=${qemuValue(socket)}`, '-device', properties.join(',')];
}

/** A comma in an option's value is written twice. */
function qemuValue(text: string): string {
  return text.replaceAll(',', ',,');
}

/** One argument as a shell needs it. */
export function shellQuote(argument: string): string {
  return /^[\w@%+=:,./-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", `'\\''`)}'`;
}
