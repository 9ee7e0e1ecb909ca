import { setMaxListeners } from 'node:events';
import { constants } from 'node:os';
import type { ReadStream } from 'node:tty';
import { Command, InvalidArgumentError, Option } from 'commander';
import { MACHINES } from '../vm/boot-options.js';
import { KERNEL_NAMES } from '../vm/find-kernel.js';
import { DEFAULT_KERNEL } from '../vm/stock-kernel.js';
import { WorkerError } from '../worker-error.js';
import { controlOption } from './control-places.js';
import {
  addDeviceOptions,
  DEVICE_LIST,
  type NamedDevice,
  nameDevices,
  setting,
  vectorsOption,
  type WantedDevice,
} from './device-options.js';
import { duration, TIME_HELP } from './duration.js';
import { featuresOption } from './features-option.js';
import { GuestTerminal } from './guest-terminal.js';
import { checkInspect, inspectHostOption, inspectOption } from './inspect-option.js';
import { checkKeeper, sparesOption, stuckAfterOption } from './keeper-options.js';
import { listDrivers } from './list-drivers.js';
import { memoryOption, SIZE_HELP } from './memory-size.js';
import { metricsOption } from './metrics-option.js';
import { endWithNpm } from './npm-parent.js';
import { pollOption } from './poll-option.js';
import type { TransportName } from './qemu-args.js';
import { recordBytesOption, recordOption } from './record-options.js';
import { endStreams, takeOverStreams } from './standard-streams.js';
import { stopSignal } from './stop-signal.js';
import { typeCheckOption } from './type-check-option.js';
import { UsageError } from './usage-error.js';
import { checkVectors, transportFor } from './vm-devices.js';
import { runGuest } from './vm-guest.js';
import type { VmOptions } from './vm-options.js';

/** What the guest prints that waits for a slow reader, UTF-16 units. */
const ROOM = 1 << 26;

/** `virtio-misc vm`: a guest with devices, and a command in it. */
export function vmCommand(): Command {
  // Which --set is for which device is told by their order.
  const devices: WantedDevice[] = [];
  const command = new Command('vm')
    .summary('boot a guest with a device, for a command or a shell in it')
    .description(
      `Boots a Debian kernel in QEMU with the devices, loads their drivers, and runs a shell command. The guest's console and the\ndevices' own lines go to stdout in the order they happened; the exit code is the command's. What is missing (QEMU, the kernel,\na compiler) is fetched from Debian once, into ~/.cache/virtio-misc.\n\nWithout --exec there is a shell in the guest, for you. What the devices print comes on lines of its own (or wherever you send\nstderr); a device's file that you save takes over at once; Ctrl-A x ends the guest, Ctrl-A h helps.\n\nEach device is run by a process of its own, whose number is said: when it dies, another goes on, and the guest notices nothing.\n\nDevices:\n${DEVICE_LIST}`,
    )
    .addHelpText('after', `\n${TIME_HELP}\n${SIZE_HELP}`)
    .addOption(
      new Option('--device <name>', 'which device, or its file; may be given several times').argParser(
        (name: string) => {
          devices.push({ name, set: {} });
          return devices;
        },
      ),
    )
    .addOption(
      new Option(
        '--set <name=value>',
        'an option that a device of your own declares: of the last one before it; may be given several times',
      ).argParser((text: string) => {
        const last = devices.pop();
        if (last === undefined)
          throw new InvalidArgumentError('write it behind the --device that it is for.');
        devices.push({ ...last, set: { ...last.set, ...setting(text) } });
      }),
    )
    .option('--exec <command>', 'the shell command to run in the guest; a shell for you unless told')
    .addOption(
      new Option(
        '--module <file.c|name>',
        'a kernel module to build and load, or one that comes with the kernel; may be given several times',
      )
        .argParser(oneMore)
        .default([], 'none'),
    )
    .addOption(
      new Option('--tool <file.c>', 'a program to build for the guest; may be given several times')
        .argParser(oneMore)
        .default([], 'none'),
    )
    .addOption(
      new Option('--transport <name>', 'how QEMU reaches the device; what works for it unless told').choices([
        'vhost-user',
        'vfio-user',
      ]),
    )
    .addOption(vectorsOption())
    .addOption(
      new Option('--accel <name>', "QEMU's accelerator, such as kvm or tcg; auto is kvm where you may use it")
        .env('VIRTIO_MISC_ACCEL')
        .default('auto'),
    )
    .addOption(
      new Option('--machine <type>', "QEMU's machine; microvm has virtio-mmio and no PCI")
        .choices(MACHINES)
        .default('q35'),
    )
    .option('--kernel <name>', `the guest's kernel: ${KERNEL_NAMES.join(', ')}, or a path`, DEFAULT_KERNEL)
    .option('--list-drivers', 'list the modules that come with the kernel, and stop')
    .addOption(memoryOption())
    .option('--cpus <n>', 'guest processors', wholeNumber, 1)
    .addOption(typeCheckOption())
    .option('--trace', 'log each chain: what the device read and wrote, and how long it took')
    .addOption(
      new Option('--timeout <time>', 'end a command, or a shell, that takes longer').argParser(duration),
    )
    .addOption(metricsOption())
    .addOption(recordOption())
    .addOption(recordBytesOption())
    .addOption(inspectOption())
    .addOption(inspectHostOption())
    .addOption(controlOption())
    .option('--verbose', "show the kernel's boot messages too")
    .addOption(pollOption())
    .addOption(featuresOption())
    .option('--no-keeper', 'run the devices in this process: when one dies, the guest loses it')
    .addOption(sparesOption())
    .addOption(stuckAfterOption())
    .option('--quiet', 'do not show what the devices print');
  return addDeviceOptions(command).action(run);
}

async function run(options: VmOptions): Promise<void> {
  if (options.listDrivers) return listDrivers(options.kernel);
  if (options.device === undefined)
    throw new UsageError('say which device: --device test, or a file such as ./my-device.ts');
  if (options.exec === undefined && options.control?.includes('-'))
    throw new UsageError(
      '--control - reads standard input, which is the keyboard of the shell: name a socket, or take --exec',
    );
  if (options.exec === undefined && !process.stdin.isTTY)
    throw new UsageError(
      'say what to run in the guest: --exec COMMAND; a shell needs a terminal, and standard input is none',
    );
  const streams = takeOverStreams(ROOM);
  const devices = nameDevices(options.device, options);
  await checkShipped(devices, options);
  const { keeper } = options;
  checkKeeper(options);
  checkInspect(options);
  const stop = new AbortController();
  // Every process and download that is under way listens.
  setMaxListeners(0, stop.signal);
  let stopped: NodeJS.Signals | 'Ctrl-A x' | undefined;
  const stopping = stopSignal().then((signal) => {
    stopped = signal;
    stop.abort();
  });
  const end = (): void => {
    stopped ??= 'Ctrl-A x';
    stop.abort();
  };
  endWithNpm();
  const terminal =
    options.exec === undefined ? new GuestTerminal(process.stdin as ReadStream, streams) : undefined;
  try {
    process.exitCode = await runGuest(
      devices,
      { ...options, keeper },
      streams,
      stop.signal,
      terminal && { terminal, end },
    );
  } catch (error) {
    if (stopped === undefined) {
      if (!(error instanceof WorkerError)) throw error;
      // As a rule it said itself what is wrong.
      const { code, signal, words } = error.end;
      if (signal !== null) throw new UsageError(`the device can't be had: its process ${words}`);
      process.exitCode = code === 0 ? 1 : code!;
      return;
    }
    process.stderr.write(`virtio-misc: stopped by ${stopped}\n`);
    process.exitCode = stopped === 'Ctrl-A x' ? 0 : 128 + constants.signals[stopped];
  }
  // Whoever reads slowly, in a pager for example, gets it all.
  await Promise.race([endStreams(Number.POSITIVE_INFINITY), stopping]);
}

/** What can be said of devices whose code is no secret is said before anything is started. */
async function checkShipped(devices: readonly NamedDevice[], options: VmOptions): Promise<void> {
  const shipped = devices.filter(({ isFile }) => !isFile);
  const transports: TransportName[] = [];
  for (const device of shipped) transports.push(transportFor((await device.load()).make(options), options));
  if (shipped.length === devices.length) checkVectors(transports, options);
}

function oneMore(value: string, before: readonly string[] = []): string[] {
  return [...before, value];
}

function wholeNumber(text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError('write a whole number from 1 on.');
  return Number(text);
}
