import type { GuestImage } from './image.js';
import type { GuestFile } from './initramfs.js';
import type { Qemu } from './qemu.js';

/** What guest is booted, and what it does. */
/** The machines that are known to work. */
export const MACHINES = ['q35', 'pc', 'microvm'] as const;
export type Machine = (typeof MACHINES)[number];

export interface BootOptions {
  readonly qemu: Qemu;
  readonly image: GuestImage;
  /** Shell commands, one a boot. */
  readonly exec: string | readonly string[];
  /** Each line of the guest's console: the command's output and the kernel's messages, as they come. */
  readonly onConsole: (line: string) => void;
  /** QEMU arguments that add devices. */
  readonly devices?: readonly string[];
  /** Files to put into the guest. */
  readonly files?: readonly GuestFile[];
  /** Modules to load before each command, besides those of the devices. */
  readonly load?: readonly string[];
  /** `microvm` has no PCI: its devices are on virtio-mmio. */
  readonly machine?: Machine;
  /** As QEMU's -accel has it. */
  readonly accel?: string;
  /** MiB. */
  readonly memory?: number;
  readonly cpus?: number;
  /** Shows the boot messages too. */
  readonly verbose?: boolean;
  readonly signal?: AbortSignal | undefined;
  /** Longest time for a boot, in milliseconds. */
  readonly bootTimeout?: number;
  /** Longest time for a command, in milliseconds; unlimited when absent. */
  readonly timeout?: number;
  /** A guest that gives no sign of life (it gives one each 2 s) for so long hangs; in milliseconds. */
  readonly silence?: number;
  /** Hears of QEMU's process id. */
  readonly onSpawn?: (pid: number) => void;
  /** Hears when the guest is up and the first command starts. */
  readonly onReady?: () => void;
}
