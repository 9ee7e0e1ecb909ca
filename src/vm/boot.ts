/*
 * Boots a guest and runs a command in it:
 *
 *   const [qemu, image] = await Promise.all([findQemu({ progress }), prepareGuest({ progress })]);
 *   const guest = bootGuest({ qemu, image, exec: 'uname -r', onConsole: (line) => console.log(line) });
 *   const { exitCode } = await guest.finished;
 *
 * `devices` are QEMU arguments, such as ['-chardev', 'socket,id=c0,path=S', '-device', 'vhost-user-test-device-pci,chardev=c0,...'];
 * the guest's memory is a shared memfd already. Drivers of the devices found are loaded before the command starts (by modprobe, as a
 * distribution does); `load` names more modules. A list of commands has the guest reboot between them; a command may also
 * reboot the guest by itself (`reboot -f`), and the next one then runs in the new boot. With `shell` there is a shell for a person
 * instead, on the guest's console: its output goes to `shell.onOutput`, and `type` sends it keys.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Duplex } from 'node:stream';
import type { BootOptions, TerminalSize } from './boot-options.js';
import { ConsolePipe } from './console.js';
import { GuestRun } from './guest-run.js';
import { makeFileSegment } from './initramfs.js';
import { MICROVM, MICROVM_DEVICES, microvmClock, wholePages } from './microvm.js';
import { ShellConsole } from './shell-console.js';
import { VmError } from './vm-error.js';

export interface RunningGuest {
  /**
   * Settles when QEMU has gone. `exitCode`, 0..255, is that of the last command, or of the first that failed.
   * Rejects with a VmError: `PANIC`, `HANG`, `GONE`, `QEMU`, `BUILD` (a module won't load) or `ABORTED`.
   */
  readonly finished: Promise<{ readonly exitCode: number }>;
  /**
   * Delivers what the guest has printed by now. Called before printing something that the guest's doing caused, it keeps the two
   * in the order they happened.
   */
  drainConsole(): void;
  /**
   * Sends keys to a guest's shell.
   *
   * @returns whether it takes them as they come; if not, `onRoom` is called when it does again.
   */
  type(keys: Uint8Array, onRoom: () => void): boolean;
  /** The terminal of a guest's shell has another size. */
  resize(size: TerminalSize): void;
}

/** Milliseconds that a QEMU is given to go when asked, before it is killed. */
const GRACE = 5000;

/** Boots a guest. Returns at once; the guest's end, and all failures, come through `finished`. */
export function bootGuest(options: BootOptions): RunningGuest {
  const run = new GuestRun(options);
  const line = (text: string): void => run.consoleLine(text);
  const console = options.shell
    ? new ShellConsole(options.shell, line)
    : (options.console ?? new ConsolePipe());
  if (console instanceof ConsolePipe) console.hear(line);
  return {
    finished: start(options, run, console),
    drainConsole: () => console.drain(),
    type: (keys, onRoom) => !(console instanceof ShellConsole) || console.type(keys, onRoom),
    resize: (size) => run.resize(size),
  };
}

async function start(
  options: BootOptions,
  run: GuestRun,
  console: ConsolePipe | ShellConsole,
): Promise<{ exitCode: number }> {
  let folder: string | undefined;
  try {
    let qemu: ChildProcess;
    try {
      folder = await mkdtemp(path.join(tmpdir(), 'virtio-misc-vm-'));
      const initramfs = await withFiles(options, folder);
      if (options.signal?.aborted) throw new VmError('ABORTED', 'stopped');
      const [program, ...first] = options.qemu.command as [string, ...string[]];
      qemu = spawn(program, [...first, ...machineArgs(options, initramfs)], {
        // The fourth descriptor is the control channel: a socket pair that QEMU has as its second serial port. The fifth is a shell's.
        stdio: ['ignore', console.writeEnd, 'pipe', 'pipe', ...(options.shell ? ['pipe' as const] : [])],
        // Not in the terminal's group: Ctrl-C is this process's affair, which then ends QEMU.
        detached: true,
      });
    } finally {
      console.handOver();
    }
    if (qemu.pid !== undefined) options.onSpawn?.(qemu.pid);
    return await supervise(options, run, console, qemu);
  } finally {
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  }
}

async function supervise(
  { signal, onSaid, console: shared }: BootOptions,
  run: GuestRun,
  console: ConsolePipe | ShellConsole,
  qemu: ChildProcess,
): Promise<{ exitCode: number }> {
  const [, , , control, terminal] = qemu.stdio as unknown as (Duplex | undefined)[];
  if (console instanceof ShellConsole) console.attach(terminal);
  if (control) {
    // QEMU's end is heard of through 'close'.
    control.on('error', () => {});
    run.attach(control, { drainConsole: (unfinished) => console.drain(unfinished), end: () => end(qemu) });
  }
  let said = '';
  qemu.stderr?.setEncoding('utf8').on('data', (piece: string) => {
    said = (said + piece).slice(-4000);
    onSaid?.(piece);
  });
  const abort = (): void => run.fail(new VmError('ABORTED', 'stopped'));
  signal?.addEventListener('abort', abort);
  if (signal?.aborted) abort();
  try {
    const status = await new Promise<number | string>((resolve, reject) => {
      qemu.on('error', (error) => reject(new VmError('QEMU', `QEMU does not start: ${error.message}`)));
      qemu.on('close', (code, killedBy) => resolve(killedBy ?? code ?? 0));
    });
    // What QEMU wrote is there. A pipe to which others write is not ours to end.
    if (console === shared) console.drain(true);
    else await console.ended;
    return run.ended(status, said.trim());
  } finally {
    signal?.removeEventListener('abort', abort);
    run.detach();
  }
}

/** Asks QEMU to go, and makes it. */
function end(qemu: ChildProcess): void {
  qemu.kill('SIGTERM');
  const timer = setTimeout(() => qemu.kill('SIGKILL'), GRACE);
  qemu.on('close', () => clearTimeout(timer));
}

async function withFiles({ image, files = [], machine }: BootOptions, folder: string): Promise<string> {
  if (files.length === 0 && machine !== 'microvm') return image.initramfs;
  const initramfs = path.join(folder, 'initramfs');
  const whole = Buffer.concat([await readFile(image.initramfs), await makeFileSegment(files)]);
  await writeFile(initramfs, machine === 'microvm' ? wholePages(whole) : whole);
  return initramfs;
}

/** What the kernel of a PC is told of the time. */
const PC_CLOCK: readonly string[] = [
  // The guest's time comes from the HPET, which is QEMU's clock. The TSC's rate is measured at boot, wrongly on a busy host
  // (0.6 ms in a second was seen): the guest would find timers early that were not.
  'tsc=unstable',
  // A busy host may not give the timer the few ticks that the kernel waits for, and then it looks for another timer.
  'no_timer_check',
];

function machineArgs(options: BootOptions, initramfs: string): string[] {
  const {
    image,
    exec,
    shell,
    devices = [],
    machine = 'q35',
    accel = 'tcg',
    memory: asked = 256,
    cpus = 1,
    verbose = false,
  } = options;
  const memory = Math.max(asked, image.needs?.memory ?? 0);
  const microvm = machine === 'microvm';
  const kernel = [
    // At its usual 9600 bits a second the port would sit on keys that are typed.
    'console=ttyS0,115200',
    ...(verbose ? [] : ['quiet']),
    // An oops is as good as a panic here, and a panic reboots at once, which is how it is noticed.
    ...['oops=panic', 'panic=-1'],
    ...(microvm ? microvmClock(accel) : PC_CLOCK),
    // The kernel's tests of its cryptography take a fifth of an emulated boot, this one of them whatever it is told.
    ...['cryptomgr.notests', 'initcall_blacklist=crypto_kdf108_init'],
    // A twentieth goes into making its code over for a single processor, which makes nothing faster here.
    ...(accel.startsWith('tcg') ? ['noreplace-smp'] : []),
    ...(image.needs?.params ?? []),
  ];
  const severalBoots = shell !== undefined || (typeof exec !== 'string' && exec!.length > 1);
  return [
    ...['-nodefaults', '-no-user-config', '-display', 'none'],
    // QEMU goes when this process does, however that ends.
    ...['-run-with', 'exit-with-parent=on'],
    ...[
      '-accel',
      accel,
      '-cpu',
      accel.startsWith('tcg') ? 'qemu64' : 'host',
      '-smp',
      `${cpus}`,
      '-m',
      `${memory}M`,
    ],
    ...[
      '-object',
      `memory-backend-memfd,id=ram,size=${memory}M,share=on`,
      '-machine',
      `${microvm ? MICROVM : machine},memory-backend=ram`,
    ],
    ...['-chardev', shell ? 'socket,id=console,fd=4' : 'stdio,id=console,signal=off'],
    ...['-serial', 'chardev:console'],
    ...['-chardev', 'socket,id=control,fd=3'],
    ...(microvm ? MICROVM_DEVICES : ['-serial', 'chardev:control']),
    ...['-kernel', image.vmlinux, '-initrd', initramfs, '-append', kernel.join(' ')],
    ...(severalBoots ? [] : ['-no-reboot']),
    ...devices,
  ];
}
