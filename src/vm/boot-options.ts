import type { ConsolePipe } from './console.js';
import type { GuestImage } from './image.js';
import type { GuestFile } from './initramfs.js';
import type { Qemu } from './qemu.js';

/** The machines that are known to work. */
export const MACHINES = ['q35', 'pc', 'microvm'] as const;
export type Machine = (typeof MACHINES)[number];

/** A terminal's size, in characters. */
export interface TerminalSize {
  readonly rows: number;
  readonly columns: number;
}

/** A shell for a person, on the guest's console. */
export interface GuestShell extends TerminalSize {
  /** The kind of terminal, as the variable TERM has it: letters, digits, hyphens, dots, plus signs. */
  readonly term: string;
  /** What the shell, its programs and the kernel print, as it comes. */
  onOutput(bytes: Buffer): void;
}

/** What guest is booted, and what it does. */
export interface BootOptions {
  readonly qemu: Qemu;
  readonly image: GuestImage;
  /** Shell commands, one a boot. */
  readonly exec?: string | readonly string[] | undefined;
  /** A shell instead, and another in each boot after a `reboot` in it. */
  readonly shell?: GuestShell | undefined;
  /** Each line of the guest's console: the command's output and the kernel's messages, as they come. A shell's go to its `onOutput`. */
  readonly onConsole?: (line: string) => void;
  /** The pipe of the console, where others write to it too; not with a shell. */
  readonly console?: ConsolePipe;
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
  readonly timeout?: number | undefined;
  /** A guest that gives no sign of life (it gives one each 2 s) for so long hangs; in milliseconds. */
  readonly silence?: number;
  /** Hears of QEMU's process id. */
  readonly onSpawn?: (pid: number) => void;
  /** Hears what QEMU itself has to say, on its standard error. */
  readonly onSaid?: (text: string) => void;
  /** Hears when the guest is up and the first command starts. */
  readonly onReady?: () => void;
}
