import { setMaxListeners } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { ReloadResult } from '../keeper/frames.js';
import { printable } from '../lines/printable.js';
import { processLimiter } from '../lines/process-limiter.js';
import { type Server, serve } from '../serve.js';
import type { VirtioDevice } from '../virtio/device.js';
import { combineMonitors, type Monitor, type Print } from '../virtio/monitor.js';
import { bestAccel } from '../vm/accel.js';
import { bootGuest } from '../vm/boot.js';
import { prepareGuest } from '../vm/image.js';
import { checkFirst } from '../vm/inspect.js';
import { progressTo } from '../vm/progress.js';
import { findQemu } from '../vm/qemu.js';
import { VmError } from '../vm/vm-error.js';
import { attendFile } from './attend-file.js';
import { type Controls, openControls } from './control-places.js';
import type { DeviceKind } from './device-options.js';
import type { GuestTerminal } from './guest-terminal.js';
import { startInspector } from './inspect-option.js';
import { type LineContext, makeLog } from './log.js';
import { Metrics } from './metrics.js';
import { deviceArgs, type TransportName } from './qemu-args.js';
import { startRecording } from './record-file.js';
import { printTo, type StandardStreams } from './standard-streams.js';
import { traceTo } from './trace.js';
import type { VmOptions } from './vm-options.js';

/** A device of the guest, made once to see what it is, and the transport that was asked for or that works. */
export interface Attachment {
  readonly kind: DeviceKind;
  readonly device: VirtioDevice;
  readonly transport: TransportName;
}

/** A terminal for the guest's shell, and what ends the guest. */
export interface Seat {
  readonly terminal: GuestTerminal;
  end(): void;
}

/** Serves the devices, boots the guest, and sees it to its end: its exit code. */
export async function runGuest(
  attachments: readonly Attachment[],
  options: VmOptions,
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
  const recording = startRecording(options, (line) => log.warn(line));
  const page = await metrics?.listen(options.metrics!);
  const inspector = await startInspector(options, () => titleOf(attachments)).catch((error: unknown) => {
    page?.close();
    throw error;
  });
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
      recording?.add(server);
      inspector?.add(server);
      if (kind.file !== undefined) {
        const reloaded = (result: ReloadResult): void => metrics?.reloaded(result);
        const { typeCheck } = options;
        leaveFiles.push(attendFile(kind.file, server, log, { watch: true, typeCheck, reloaded }));
      }
      process.stderr.write(`${device.name} (id ${device.id}) over ${transport}\n`);
    }
    controls = await openControls(options.control, servers);
    if (page !== undefined) log.info(`metrics at http://127.0.0.1:${page.port}/metrics`);
    if (inspector !== undefined) log.info(`inspector at ${inspector.url}`);
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
    recording?.close();
    controls?.close();
    page?.close();
    inspector?.close();
    traces.flush();
    rmSync(folder, { recursive: true, force: true });
  }
}

function titleOf(attachments: readonly Attachment[]): string {
  return attachments.map(({ device }) => device.name).join(', ');
}

/** KVM may be there and not work, in a virtual machine for example. */
function withAdvice(error: unknown): unknown {
  if (!(error instanceof VmError)) return error;
  const refused = error.code === 'QEMU' && /kvm/i.test(error.message);
  const stuck = error.code === 'HANG' && /printed nothing$/.test(error.message);
  if (!refused && !stuck) return error;
  return new VmError(error.code, `${error.message} (--accel tcg does without KVM)`, { cause: error });
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
