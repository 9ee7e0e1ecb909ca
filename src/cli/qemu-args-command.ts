import { resolve } from 'node:path';
import { Command, Option } from 'commander';
import { MACHINES, type Machine } from '../vm/boot-options.js';
import { qemuHas } from '../vm/qemu.js';
import {
  addDeviceOptions,
  DEVICE_LIST,
  type DeviceOptions,
  findDevice,
  type Settings,
  setOption,
} from './device-options.js';
import { TIME_HELP } from './duration.js';
import { memoryOption, SIZE_HELP } from './memory-size.js';
import { deviceArgs, memoryArgs, PATIENCE, PATIENT, shellQuote } from './qemu-args.js';
import { UsageError } from './usage-error.js';

interface Options extends DeviceOptions {
  readonly set?: Settings;
  readonly vhostUser?: string;
  readonly vfioUser?: string;
  readonly memory: number;
  readonly machine?: Machine;
}

/** `virtio-misc qemu-args`: what to give QEMU for a device that `serve` serves. */
export function qemuArgsCommand(): Command {
  const command = new Command('qemu-args')
    .summary('print the QEMU command line for a served device')
    .description(
      `Prints the QEMU (11.1 or later) command line that attaches a device served with 'virtio-misc serve'.\n\nDevices:\n${DEVICE_LIST}`,
    )
    .addHelpText('after', `\n${TIME_HELP}\n${SIZE_HELP}`)
    .argument('<device>', 'which device, or its file')
    .option('--vhost-user <socket>', 'the socket that it is served on over vhost-user')
    .option('--vfio-user <socket>', 'the socket that it is served on over vfio-user')
    .addOption(setOption())
    .addOption(memoryOption())
    .addOption(
      new Option(
        '--machine <type>',
        "QEMU's machine, its default unless told; microvm has virtio-mmio and no PCI",
      ).choices(MACHINES),
    );
  return addDeviceOptions(command).action(async (name: string, options: Options) => {
    const device = (await findDevice(name, options)).make(options);
    const { vhostUser, vfioUser, machine } = options;
    if ((vhostUser === undefined) === (vfioUser === undefined)) {
      throw new UsageError(
        'say where the device is served: --vhost-user SOCKET or --vfio-user SOCKET, one of them',
      );
    }
    // QEMU gives a device up that does not answer for 5 s; not every one can be told.
    const patience =
      vfioUser !== undefined && (await qemuHas('vfio-user-pci', PATIENCE)) ? PATIENT : undefined;
    const args =
      vhostUser === undefined
        ? deviceArgs(device, 'vfio-user', resolve(vfioUser!), 'virtio0', machine, patience)
        : deviceArgs(device, 'vhost-user', resolve(vhostUser), 'virtio0', machine);
    console.log(
      ['qemu-system-x86_64', ...memoryArgs(`${options.memory}M`, machine), ...args].map(shellQuote).join(' '),
    );
  });
}
