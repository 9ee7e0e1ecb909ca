import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deviceArgs, type TransportName } from '../../src/cli/qemu-args.js';
import { type ServerObserver, serve } from '../../src/serve.js';
import type { VirtioDevice } from '../../src/virtio/device.js';
import type { RingFeatures } from '../../src/virtio/ring-features.js';
import { bootGuest } from '../../src/vm/boot.js';
import type { BootOptions } from '../../src/vm/boot-options.js';
import { prepareGuest } from '../../src/vm/image.js';
import { progressTo } from '../../src/vm/progress.js';
import { findQemu } from '../../src/vm/qemu.js';

/** What a guest and its device had to say. */
export interface GuestOutcome {
  readonly exitCode: number;
  /** The guest's console. */
  readonly console: readonly string[];
  /** What the device printed. */
  readonly device: readonly string[];
  /** What was logged about the guest and the device. */
  readonly warnings: readonly string[];
}

/** What may be said of a guest beside its device and commands. */
export type GuestOptions = Partial<
  Pick<
    BootOptions,
    | 'load'
    | 'files'
    | 'cpus'
    | 'machine'
    | 'timeout'
    | 'bootTimeout'
    | 'onSpawn'
    | 'onConsole'
    | 'onSaid'
    | 'signal'
  >
> & {
  readonly vectors?: number;
  readonly poll?: boolean | number;
  /** Hears of all that passes. */
  readonly observer?: ServerObserver;
  /** The ring features that the guest is offered, where it is not what it is offered unless told. */
  readonly features?: RingFeatures;
  /** A name or a path, as `vm --kernel` takes them; that of VIRTIO_MISC_KERNEL when absent. */
  readonly kernel?: string | undefined;
  /** More kernel modules: C files. What the compiler says of them must be nothing. */
  readonly modules?: readonly string[];
  /** More user programs: C files. */
  readonly tools?: readonly string[];
};

/** Boots a guest with QEMU arguments for its devices and runs commands in it, one a boot. */
export async function boot(
  devices: readonly string[],
  exec: string | readonly string[],
  { modules = [], tools = [], kernel = process.env.VIRTIO_MISC_KERNEL, ...options }: GuestOptions = {},
): Promise<{ exitCode: number; console: readonly string[] }> {
  const progress = progressTo(process.stderr, { plain: true });
  const [qemu, image] = await Promise.all([
    findQemu({ progress }),
    prepareGuest({ progress, modules, tools, kernel }),
  ]);
  assert.doesNotMatch(image.buildLog, /warning|error/i);
  const console: string[] = [];
  const { exitCode } = await bootGuest({
    timeout: 240_000,
    ...options,
    qemu,
    image,
    exec,
    devices,
    onConsole: (line) => {
      console.push(line);
      options.onConsole?.(line);
    },
  }).finished;
  return { exitCode, console };
}

/** Boots a guest with one device, served from this process. */
export async function runGuest(
  make: () => VirtioDevice,
  transport: TransportName,
  exec: string | readonly string[],
  { vectors, poll, features, observer, ...options }: GuestOptions = {},
): Promise<GuestOutcome> {
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  const socket = join(folder, 'device.sock');
  const device: string[] = [];
  const warnings: string[] = [];
  const server = await serve(make, {
    ...(transport === 'vhost-user' ? { vhostUser: socket } : { vfioUser: socket }),
    ...(vectors !== undefined && { vectors }),
    ...(poll !== undefined && { poll }),
    ...(features !== undefined && { features }),
    print: (line) => device.push(line),
    warn: (line) => warnings.push(line),
  });
  if (observer !== undefined) server.observe(observer);
  try {
    const args = deviceArgs(make(), transport, socket, 'virtio0', options.machine);
    return { ...(await boot(args, exec, options)), device, warnings };
  } finally {
    server.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Lines of the kernel's that no test may leave behind. */
export const KERNEL_COMPLAINT: RegExp =
  /\b(BUG|WARNING|Oops|Call Trace|refcount_t|use-after-free|hung task)\b/;
