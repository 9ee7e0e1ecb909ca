import { setMaxListeners } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { printable } from '../lines/printable.js';
import { bestAccel } from '../vm/accel.js';
import { bootGuest } from '../vm/boot.js';
import { prepareGuest } from '../vm/image.js';
import { checkFirst } from '../vm/inspect.js';
import { progressTo } from '../vm/progress.js';
import { findQemu, hasProperty } from '../vm/qemu.js';
import { VmError } from '../vm/vm-error.js';
import type { NamedDevice } from './device-options.js';
import type { GuestTerminal } from './guest-terminal.js';
import { makeLog } from './log.js';
import { deviceArgs, PATIENCE, PATIENT } from './qemu-args.js';
import { printTo, type StandardStreams } from './standard-streams.js';
import type { DevicesHost, GuestDevices } from './vm-devices.js';
import type { VmOptions } from './vm-options.js';

/** A terminal for the guest's shell, and what ends the guest. */
export interface Seat {
  readonly terminal: GuestTerminal;
  end(): void;
}

/** What QEMU has to say when it is ended from here. */
const OURS = `terminating on signal 15 from pid ${process.pid} `;

/** Serves the devices, boots the guest, and sees it to its end: its exit code. */
export async function runGuest(
  devices: readonly NamedDevice[],
  options: VmOptions,
  { stdout, stderr }: StandardStreams,
  signal: AbortSignal,
  seat: Seat | undefined,
): Promise<number> {
  const log = makeLog(seat?.terminal ?? stderr, 'pretty', options.trace ? 'trace' : 'info');
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-'));
  // What the guest printed before it touched a device comes before what the device prints.
  let drainConsole = (): void => {};
  const printed = printTo(stdout, () => drainConsole());
  const host: DevicesHost = {
    devices,
    options,
    folder,
    log,
    print: (name) => (seat === undefined ? printed : (line) => seat.terminal.device(name, line)),
  };
  let served: Promise<GuestDevices> | undefined;
  try {
    const progress = progressTo(process.stderr);
    await checkFirst();
    const serve = async (): Promise<GuestDevices> =>
      options.keeper
        ? (await import('./vm-kept-devices.js')).serveKept(host)
        : (await import('./vm-own-devices.js')).serveHere(host);
    const serving = serve();
    served = serving;
    const [[{ attached, console }, qemu, patient], image] = await together(signal, (signal) => [
      Promise.all([serving, findQemu({ progress, signal })]).then(async ([served, qemu]) => {
        const asked = options.keeper && served.attached.some(({ transport }) => transport === 'vfio-user');
        return [served, qemu, asked && (await hasProperty(qemu, 'vfio-user-pci', PATIENCE))] as const;
      }),
      prepareGuest({
        progress,
        signal,
        modules: options.module.filter(isSource),
        drivers: options.module.filter((name) => !isSource(name)),
        tools: options.tool,
        kernel: options.kernel,
      }),
    ]);
    for (const { device, transport, pid } of attached) {
      const where = pid === undefined ? '' : `, in process ${pid}`;
      process.stderr.write(`${device.name} (id ${device.id}) over ${transport}${where}\n`);
    }
    let up = false;
    let said = '';
    let ready: () => void = () => {};
    const booted = new Promise<void>((resolve) => {
      ready = () => {
        up = true;
        resolve();
      };
    });
    const accel = options.accel === 'auto' ? bestAccel() : options.accel;
    const guest = bootGuest({
      qemu,
      image,
      ...(seat === undefined
        ? {
            exec: options.exec,
            onConsole: (line) => stdout.write(`${process.stdout.isTTY ? shown(line) : line}\n`),
            ...(console !== undefined && { console }),
          }
        : { shell: seat.terminal.shell }),
      load: options.module.map((file) => (isSource(file) ? basename(file, '.c') : file)),
      devices: attached.flatMap(({ device, transport, socket }, index) =>
        // QEMU gives a device up that does not answer for 5 s, where it can't be told.
        deviceArgs(
          device,
          transport,
          socket,
          `virtio${index}`,
          options.machine,
          patient ? PATIENT : undefined,
        ),
      ),
      accel,
      machine: options.machine,
      memory: options.memory,
      cpus: options.cpus,
      verbose: options.verbose ?? false,
      timeout: options.timeout,
      signal,
      onReady: ready,
      // Of a QEMU that does not start it is in what is said of that.
      onSaid: (text) => {
        const lines = (said + text).split('\n');
        said = lines.pop()!;
        for (const line of up ? lines : []) if (!line.includes(OURS)) log.warn(`QEMU: ${line}`);
      },
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
    await (await served?.catch(() => undefined))?.close();
    rmSync(folder, { recursive: true, force: true });
  }
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
