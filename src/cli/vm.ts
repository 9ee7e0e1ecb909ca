import { setMaxListeners } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { ReadStream } from 'node:tty';
import { Command, InvalidArgumentError, Option } from 'commander';
import { printable } from '../lines/printable.js';
import { processLimiter } from '../lines/process-limiter.js';
import { type Server, serve } from '../serve.js';
import type { VirtioDevice } from '../virtio/device.js';
import { combineMonitors, type Monitor, type Print } from '../virtio/monitor.js';
import type { RingFeatures } from '../virtio/ring-features.js';
import { bestAccel } from '../vm/accel.js';
import { bootGuest } from '../vm/boot.js';
import { MACHINES, type Machine } from '../vm/boot-options.js';
import { Cache } from '../vm/cache.js';
import { findKernel, KERNEL_NAMES } from '../vm/find-kernel.js';
import { prepareGuest } from '../vm/image.js';
import { checkFirst } from '../vm/inspect.js';
import { progressTo } from '../vm/progress.js';
import { findQemu } from '../vm/qemu.js';
import { stockDrivers } from '../vm/stock-drivers.js';
import { DEFAULT_KERNEL } from '../vm/stock-kernel.js';
import { VmError } from '../vm/vm-error.js';
import { attendFile, typeCheckOption } from './attend-file.js';
import { type Controls, controlOption, openControls } from './control-places.js';
import {
  addDeviceOptions,
  DEVICE_LIST,
  type DeviceKind,
  type DeviceOptions,
  findDevices,
  setting,
  vectorsOption,
  type WantedDevice,
} from './device-options.js';
import { duration, TIME_HELP } from './duration.js';
import { featuresOption } from './features-option.js';
import { GuestTerminal } from './guest-terminal.js';
import type { ReloadResult } from './live-reload.js';
import { type LineContext, makeLog } from './log.js';
import { memoryOption, SIZE_HELP } from './memory-size.js';
import { Metrics, metricsOption } from './metrics.js';
import { endWithNpm } from './npm-parent.js';
import { pollOption } from './poll-option.js';
import { bestTransport, deviceArgs, type TransportName } from './qemu-args.js';
import { endStreams, printTo, type StandardStreams, takeOverStreams } from './standard-streams.js';
import { stopSignal } from './stop-signal.js';
import { traceTo } from './trace.js';
import { UsageError } from './usage-error.js';

interface Options extends DeviceOptions {
  readonly device?: readonly WantedDevice[];
  readonly listDrivers?: boolean;
  readonly control?: readonly string[];
  readonly exec?: string;
  readonly module: readonly string[];
  readonly tool: readonly string[];
  readonly transport?: TransportName;
  readonly vectors?: number;
  readonly accel: string;
  readonly machine: Machine;
  readonly kernel: string;
  readonly memory: number;
  readonly cpus: number;
  readonly typeCheck: boolean;
  readonly trace?: boolean;
  readonly timeout?: number;
  readonly metrics?: number;
  readonly verbose?: boolean;
  readonly quiet?: boolean;
  readonly poll?: boolean | number;
  readonly features?: RingFeatures;
}

/** What the guest prints that waits for a slow reader, UTF-16 units. */
const ROOM = 1 << 26;

/** `virtio-misc vm`: a guest with devices, and a command in it. */
export function vmCommand(): Command {
  // Which --set is for which device is told by their order.
  const devices: WantedDevice[] = [];
  const command = new Command('vm')
    .summary('boot a guest with a device, for a command or a shell in it')
    .description(
      `Boots a Debian kernel in QEMU with the devices, loads their drivers, and runs a shell command. The guest's console and the\ndevices' own lines go to stdout in the order they happened; the exit code is the command's. What is missing (QEMU, the kernel,\na compiler) is fetched from Debian once, into ~/.cache/virtio-misc.\n\nWithout --exec there is a shell in the guest, for you. What the devices print comes on lines of its own (or wherever you send\nstderr); a device's file that you save takes over at once; Ctrl-A x ends the guest, Ctrl-A h helps.\n\nDevices:\n${DEVICE_LIST}`,
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
    .addOption(controlOption())
    .option('--verbose', "show the kernel's boot messages too")
    .addOption(pollOption())
    .addOption(featuresOption())
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
      attachments,
      options,
      streams,
      stop.signal,
      terminal && { terminal, end },
    );
  } catch (error) {
    if (stopped === undefined) throw error;
    process.stderr.write(`virtio-misc: stopped by ${stopped}\n`);
    process.exitCode = stopped === 'Ctrl-A x' ? 0 : 128 + constants.signals[stopped];
  }
  // Whoever reads slowly, in a pager for example, gets it all.
  await Promise.race([endStreams(Number.POSITIVE_INFINITY), stopping]);
}

/** A terminal for the guest's shell, and what ends the guest. */
interface Seat {
  readonly terminal: GuestTerminal;
  end(): void;
}

async function runGuest(
  attachments: readonly Attachment[],
  options: Options,
  { stdout, stderr }: StandardStreams,
  signal: AbortSignal,
  seat: Seat | undefined,
): Promise<number> {
  const log = makeLog(seat?.terminal ?? stderr, 'pretty', options.trace ? 'trace' : 'info');
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-'));
  const servers: Server[] = [];
  const leaveFiles: (() => void)[] = [];
  let controls: Controls | undefined;
  // What the guest printed before it touched a device comes before what the device prints.
  let drainConsole = (): void => {};
  const printed = printTo(stdout, () => drainConsole());
  const printOf = (device: string): Print =>
    seat === undefined ? printed : (line) => seat.terminal.device(device, line);
  const traces = processLimiter<LineContext>((line, about) => log.trace(about, line));
  const metrics = options.metrics === undefined ? undefined : new Metrics();
  const page = await metrics?.listen(options.metrics!);
  try {
    const args: string[] = [];
    for (const [index, { kind, device, transport }] of attachments.entries()) {
      const socket = join(folder, `${index}.sock`);
      args.push(...deviceArgs(device, transport, socket, `virtio${index}`, options.machine));
      const server = await serve(() => kind.make(options), {
        ...(transport === 'vhost-user' ? { vhostUser: socket } : { vfioUser: socket }),
        ...(options.vectors !== undefined && { vectors: options.vectors }),
        ...(options.poll !== undefined && { poll: options.poll }),
        ...(options.features !== undefined && { features: options.features }),
        print: options.quiet ? false : printOf(device.name),
        warn: (line, about) => log.warn({ ...(about?.detail && { detail: about.detail }) }, line),
        monitor: (served, connection) => {
          const monitors: Monitor[] = [];
          if (metrics !== undefined) monitors.push(metrics.monitor(served, connection));
          if (options.trace) monitors.push(traceTo(log, traces, { device: device.name }));
          return monitors.length > 0 ? combineMonitors(monitors) : undefined;
        },
        gone: (_socket, _error, connection) => metrics?.gone(connection),
      });
      servers.push(server);
      if (kind.file !== undefined) {
        const reloaded = (result: ReloadResult): void => metrics?.reloaded(result);
        const { typeCheck } = options;
        leaveFiles.push(attendFile(kind.file, server, log, { watch: true, typeCheck, reloaded }));
      }
      process.stderr.write(`${device.name} (id ${device.id}) over ${transport}\n`);
    }
    controls = await openControls(options.control, servers);
    if (page !== undefined) log.info(`metrics at http://127.0.0.1:${page.port}/metrics`);
    const progress = progressTo(process.stderr);
    await checkFirst();
    const [qemu, image] = await together(signal, (signal) => [
      findQemu({ progress, signal }),
      prepareGuest({
        progress,
        signal,
        modules: options.module.filter(isSource),
        drivers: options.module.filter((name) => !isSource(name)),
        tools: options.tool,
        kernel: options.kernel,
      }),
    ]);
    let ready: () => void = () => {};
    const booted = new Promise<void>((resolve) => {
      ready = resolve;
    });
    const accel = options.accel === 'auto' ? bestAccel() : options.accel;
    const guest = bootGuest({
      qemu,
      image,
      ...(seat === undefined
        ? {
            exec: options.exec,
            onConsole: (line) => stdout.write(`${process.stdout.isTTY ? shown(line) : line}\n`),
          }
        : { shell: seat.terminal.shell }),
      load: options.module.map((file) => (isSource(file) ? basename(file, '.c') : file)),
      devices: args,
      accel,
      machine: options.machine,
      memory: options.memory,
      cpus: options.cpus,
      verbose: options.verbose ?? false,
      timeout: options.timeout,
      signal,
      onReady: ready,
    });
    drainConsole = guest.drainConsole;
    const finished = guest.finished.catch((error: unknown) => {
      throw options.accel === 'auto' && accel === 'kvm' ? withAdvice(error) : error;
    });
    await progress.step(`Booting Linux ${image.release} in QEMU ${qemu.version} (${accel})`, () =>
      Promise.race([booted, finished]),
    );
    if (seat !== undefined) {
      process.stderr.write('A shell in the guest: Ctrl-A x ends it, Ctrl-A h helps.\n');
      seat.terminal.start(guest, seat.end);
    }
    return (await finished).exitCode;
  } finally {
    seat?.terminal.end();
    for (const leave of leaveFiles) leave();
    for (const server of servers) server.close();
    controls?.close();
    page?.close();
    traces.flush();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** KVM may be there and not work, in a virtual machine for example. */
function withAdvice(error: unknown): unknown {
  if (!(error instanceof VmError && error.code === 'QEMU' && /kvm/i.test(error.message))) return error;
  return new VmError('QEMU', `${error.message} (--accel tcg does without KVM)`, { cause: error });
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

/** Both, or the first failure: the other is stopped then, and has removed what it left half done. */
async function together<A, B>(
  signal: AbortSignal,
  work: (signal: AbortSignal) => [Promise<A>, Promise<B>],
): Promise<[A, B]> {
  const stop = new AbortController();
  setMaxListeners(0, stop.signal);
  const both = work(AbortSignal.any([signal, stop.signal]));
  try {
    return await Promise.all(both);
  } catch (error) {
    stop.abort();
    await Promise.allSettled(both);
    throw error;
  }
}

/** Whether a module is somebody's own code; the name of one that comes with the kernel is a word. */
function isSource(module: string): boolean {
  return /[./]/.test(module);
}

async function listDrivers(kernel: string): Promise<void> {
  const progress = progressTo(process.stderr);
  const drivers = await stockDrivers(await findKernel(Cache.ofUser(), progress, undefined, kernel));
  if (drivers.size === 0) throw new UsageError(`the kernel '${kernel}' comes with no modules`);
  for (const { modinfo } of drivers.values()) {
    const ids = modinfo.aliases.flatMap((alias) => /^virtio:d0*([0-9A-F]+)v/.exec(alias)?.[1] ?? []);
    const devices = ids.map((id) => Number.parseInt(id, 16)).join(', ');
    const what = printable(modinfo.description.split('\n')[0]!);
    console.log(`${modinfo.name.padEnd(32)} ${what}${devices && ` (virtio id ${devices})`}`);
  }
}

function oneMore(value: string, before: readonly string[] = []): string[] {
  return [...before, value];
}

function wholeNumber(text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError('write a whole number from 1 on.');
  return Number(text);
}
