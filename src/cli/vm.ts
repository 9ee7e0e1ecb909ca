import { setMaxListeners } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { printable } from '../lines/printable.js';
import { processLimiter } from '../lines/process-limiter.js';
import { type Server, serve } from '../serve.js';
import type { VirtioDevice } from '../virtio/device.js';
import { bootGuest } from '../vm/boot.js';
import { MACHINES, type Machine } from '../vm/boot-options.js';
import { KERNEL_NAMES } from '../vm/find-kernel.js';
import { prepareGuest } from '../vm/image.js';
import { progressTo } from '../vm/progress.js';
import { findQemu } from '../vm/qemu.js';
import { DEFAULT_KERNEL } from '../vm/stock-kernel.js';
import {
  addDeviceOptions,
  DEVICE_LIST,
  type DeviceKind,
  type DeviceOptions,
  findDevices,
  vectorsOption,
} from './device-options.js';
import { reloadOnSave } from './live-reload.js';
import { type LineContext, makeLog } from './log.js';
import { endWithNpm } from './npm-parent.js';
import { pollOption } from './poll-option.js';
import { bestTransport, deviceArgs, type TransportName } from './qemu-args.js';
import { endStreams, printTo, type StandardStreams, takeOverStreams } from './standard-streams.js';
import { stopSignal } from './stop-signal.js';
import { traceTo } from './trace.js';
import { UsageError } from './usage-error.js';

interface Options extends DeviceOptions {
  readonly device: readonly string[];
  readonly exec: string;
  readonly module: readonly string[];
  readonly tool: readonly string[];
  readonly transport?: TransportName;
  readonly vectors?: number;
  readonly accel: string;
  readonly machine: Machine;
  readonly kernel: string;
  readonly memory: number;
  readonly cpus: number;
  readonly trace?: boolean;
  readonly verbose?: boolean;
  readonly quiet?: boolean;
  readonly poll?: boolean | number;
}

/** What the guest prints that waits for a slow reader, UTF-16 units. */
const ROOM = 1 << 26;

/** `virtio-misc vm`: a guest with devices, and a command in it. */
export function vmCommand(): Command {
  const command = new Command('vm')
    .summary('boot a guest with a device and run a command in it')
    .description(
      `Boots a Debian kernel in QEMU with the devices, loads their drivers, and runs a shell command. The guest's console and the\ndevices' own lines go to stdout in the order they happened; the exit code is the command's. What is missing (QEMU, the kernel,\na compiler) is fetched from Debian once, into ~/.cache/virtio-misc.\n\nDevices:\n${DEVICE_LIST}`,
    )
    .addOption(
      new Option('--device <name>', 'which device, or its file; may be given several times')
        .argParser(oneMore)
        .makeOptionMandatory(),
    )
    .requiredOption('--exec <command>', 'the shell command to run in the guest')
    .addOption(
      new Option('--module <file.c>', 'a kernel module to build and load; may be given several times')
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
    .option('--accel <name>', "QEMU's accelerator, such as kvm", 'tcg')
    .addOption(
      new Option('--machine <type>', "QEMU's machine; microvm has virtio-mmio and no PCI")
        .choices(MACHINES)
        .default('q35'),
    )
    .option('--kernel <name>', `the guest's kernel: ${KERNEL_NAMES.join(', ')}, or a path`, DEFAULT_KERNEL)
    .option('--memory <MiB>', 'guest memory', wholeNumber, 256)
    .option('--cpus <n>', 'guest processors', wholeNumber, 1)
    .option('--trace', 'log each chain: what the device read and wrote, and how long it took')
    .option('--verbose', "show the kernel's boot messages too")
    .addOption(pollOption())
    .option('--quiet', 'do not show what the devices print');
  return addDeviceOptions(command).action(run);
}

/** A device of the guest, made once to see what it is, and the transport that was asked for or that works. */
interface Attachment {
  readonly kind: DeviceKind;
  readonly device: VirtioDevice;
  readonly transport: TransportName;
}

async function run(options: Options): Promise<void> {
  const streams = takeOverStreams(ROOM);
  const attachments = (await findDevices(options.device, options)).map((kind): Attachment => {
    const device = kind.make(options);
    return { kind, device, transport: options.transport ?? bestTransport(device, options.machine) };
  });
  const overVfioUser = attachments.some(({ transport }) => transport === 'vfio-user');
  if (options.vectors !== undefined && !overVfioUser)
    throw new UsageError('--vectors needs a device over vfio-user');
  const stop = new AbortController();
  // Every process and download that is under way listens.
  setMaxListeners(0, stop.signal);
  let stopped: NodeJS.Signals | undefined;
  const stopping = stopSignal().then((signal) => {
    stopped = signal;
    stop.abort();
  });
  endWithNpm();
  try {
    process.exitCode = await runGuest(attachments, options, streams, stop.signal);
  } catch (error) {
    if (stopped === undefined) throw error;
    process.stderr.write(`virtio-misc: stopped by ${stopped}\n`);
    process.exitCode = 128 + constants.signals[stopped];
  }
  // Whoever reads slowly, in a pager for example, gets it all.
  await Promise.race([endStreams(Number.POSITIVE_INFINITY), stopping]);
}

async function runGuest(
  attachments: readonly Attachment[],
  options: Options,
  { stdout, stderr }: StandardStreams,
  signal: AbortSignal,
): Promise<number> {
  const log = makeLog(stderr, 'pretty', options.trace ? 'trace' : 'info');
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-'));
  const servers: Server[] = [];
  const stopReloading: (() => void)[] = [];
  // What the guest printed before it touched a device comes before what the device prints.
  let drainConsole = (): void => {};
  const print = printTo(stdout, () => drainConsole());
  const traces = processLimiter<LineContext>((line, about) => log.trace(about, line));
  try {
    const args: string[] = [];
    for (const [index, { kind, device, transport }] of attachments.entries()) {
      const socket = join(folder, `${index}.sock`);
      args.push(...deviceArgs(device, transport, socket, `virtio${index}`, options.machine));
      const place = transport === 'vhost-user' ? { vhostUser: socket } : { vfioUser: socket };
      const vectors = options.vectors === undefined ? {} : { vectors: options.vectors };
      const warn = (line: string): void => log.warn(line);
      const monitor = options.trace ? { monitor: () => traceTo(log, traces, { device: device.name }) } : {};
      const server = await serve(() => kind.make(options), {
        ...place,
        ...vectors,
        ...monitor,
        print: options.quiet ? false : print,
        ...(options.poll !== undefined && { poll: options.poll }),
        warn,
      });
      servers.push(server);
      if (kind.file !== undefined) stopReloading.push(reloadOnSave(kind.file, server, log));
      process.stderr.write(`${device.name} (id ${device.id}) over ${transport}\n`);
    }
    const progress = progressTo(process.stderr);
    const [qemu, image] = await Promise.all([
      findQemu({ progress, signal }),
      prepareGuest({
        progress,
        signal,
        modules: options.module,
        tools: options.tool,
        kernel: options.kernel,
      }),
    ]);
    let ready: () => void = () => {};
    const booted = new Promise<void>((resolve) => {
      ready = resolve;
    });
    const guest = bootGuest({
      qemu,
      image,
      exec: options.exec,
      load: options.module.map((file) => basename(file, '.c')),
      devices: args,
      accel: options.accel,
      machine: options.machine,
      memory: options.memory,
      cpus: options.cpus,
      verbose: options.verbose ?? false,
      signal,
      onConsole: (line) => stdout.write(`${process.stdout.isTTY ? shown(line) : line}\n`),
      onReady: ready,
    });
    drainConsole = guest.drainConsole;
    await progress.step(`Booting Linux ${image.release} in QEMU ${qemu.version}`, () =>
      Promise.race([booted, guest.finished]),
    );
    return (await guest.finished).exitCode;
  } finally {
    for (const stop of stopReloading) stop();
    for (const server of servers) server.close();
    traces.flush();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A line of the guest's console on a terminal: colours and tabs may pass, nothing else that steers it. */
function shown(line: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  const harmless = /(\x1b\[[\d;]*m|\t)/;
  return line
    .split(harmless)
    .map((piece) => (harmless.test(piece) ? piece : printable(piece)))
    .join('');
}

function oneMore(value: string, before: readonly string[] = []): string[] {
  return [...before, value];
}

function wholeNumber(text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError('write a whole number from 1 on.');
  return Number(text);
}
