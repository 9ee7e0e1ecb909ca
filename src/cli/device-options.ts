import { type Command, InvalidArgumentError, Option } from 'commander';
import type { DeviceFile } from '../device-file/device-file.js';
import { isDeviceFile } from '../device-file/is-device-file.js';
import type { VirtioDevice } from '../virtio/device.js';
import { duration } from './duration.js';
import { UsageError } from './usage-error.js';

/** The options of all devices, as commander leaves them. */
export interface DeviceOptions {
  readonly variant?: 'echo' | 'events';
  readonly first?: number;
  readonly every?: number;
  readonly maxTimers?: number;
}

/** A device to be had: one that ships with the program, or one of a file. */
export interface DeviceKind {
  /** As it is written on the command line. */
  readonly name: string;
  /** The names of the options that it takes. */
  readonly options: readonly (keyof DeviceOptions)[];
  make(options: DeviceOptions): VirtioDevice;
  /** Where it comes from, if it is from a file. */
  readonly file?: DeviceFile;
}

/** One that ships with the program, and is loaded when it is wanted. */
interface ShippedKind extends Omit<DeviceKind, 'make' | 'file'> {
  readonly summary: string;
  load(): Promise<DeviceKind['make']>;
}

const KINDS: readonly ShippedKind[] = [
  {
    name: 'test',
    summary: 'virtio-test (id 45): answers requests, or pushes config changes',
    options: ['variant', 'first', 'every'],
    async load() {
      const { virtioTest } = await import('../devices/test/device.js');
      return ({ variant, first, every }) =>
        virtioTest({
          ...(variant !== undefined && { variant }),
          ...(first !== undefined && { first }),
          ...(every !== undefined && { every }),
        })();
    },
  },
  {
    name: 'misc',
    summary: 'virtio-misc (id 70): timers for the guest',
    options: ['maxTimers'],
    async load() {
      const { virtioMisc } = await import('../devices/misc/device.js');
      return ({ maxTimers }) => virtioMisc(maxTimers === undefined ? {} : { maxTimers })();
    },
  },
];

const OPTIONS: Record<keyof DeviceOptions, Option> = {
  variant: new Option('--variant <name>', 'test: what it does').choices(['echo', 'events']),
  first: new Option(
    '--first <time>',
    'test, events: from the driver being ready to the first change',
  ).argParser(duration),
  every: new Option('--every <time>', 'test, events: between changes').argParser(duration),
  maxTimers: new Option('--max-timers <n>', 'misc: timers at a time, 65536 unless told').argParser(count),
};

/** The devices that ship with the program. */
export const DEVICE_NAMES: readonly string[] = KINDS.map((kind) => kind.name);

/** One line for each device, for help texts. */
export const DEVICE_LIST: string = [
  ...KINDS.map((kind) => `  ${kind.name.padEnd(6)} ${kind.summary}`),
  '  FILE   a device of your own, such as ./my-device.ts',
].join('\n');

/** Gives a command the options of all devices. */
export function addDeviceOptions(command: Command): Command {
  for (const option of Object.values(OPTIONS)) command.addOption(option);
  return command;
}

/** A device that can be meant; its code is not loaded yet. */
export interface NamedDevice extends Pick<DeviceKind, 'name' | 'options'> {
  readonly set: Settings;
  /** Whether it is a file, whose code is somebody else's. */
  readonly isFile: boolean;
  /** @throws DeviceFileError for a file that is none. */
  load(): Promise<DeviceKind>;
}

/** @throws UsageError when there is no such device, or an option is for none of these; DeviceFileError for a file that is none. */
export async function findDevices(
  wanted: readonly WantedDevice[],
  options: DeviceOptions,
): Promise<DeviceKind[]> {
  const kinds: DeviceKind[] = [];
  for (const device of nameDevices(wanted, options)) kinds.push(await device.load());
  return kinds;
}

/** As `findDevices`, for those who don't need the devices themselves. */
export function nameDevices(wanted: readonly WantedDevice[], options: DeviceOptions): NamedDevice[] {
  const kinds = wanted.map(nameDevice);
  for (const key of Object.keys(OPTIONS) as (keyof DeviceOptions)[]) {
    if (options[key] !== undefined && !kinds.some((kind) => kind.options.includes(key))) {
      throw new UsageError(
        `${OPTIONS[key].long} is not an option of the device '${wanted.map(({ name }) => name).join(', ')}'`,
      );
    }
  }
  if ((options.first !== undefined || options.every !== undefined) && options.variant !== 'events') {
    throw new UsageError('--first and --every need --variant events');
  }
  return kinds;
}

/** `findDevices` for one. @param code - of its file, where that is not to be read from the disk. */
export async function findDevice(
  name: string,
  options: DeviceOptions & { readonly set?: Settings },
  code?: Uint8Array,
): Promise<DeviceKind> {
  return (await findDevices([{ name, set: options.set ?? {}, code }], options))[0]!;
}

/** `--set`: what a device's own options are to be, as it is written. */
export type Settings = Readonly<Record<string, string>>;

/** A device as it was asked for. */
export interface WantedDevice {
  readonly name: string;
  readonly set: Settings;
  /** That of its file, where that is not to be read from the disk. */
  readonly code?: Uint8Array | undefined;
}

/** `--set`, for the commands that have one device. */
export function setOption(): Option {
  return new Option(
    '--set <name=value>',
    'an option that a device of your own declares; may be given several times',
  ).argParser((text: string, before: Settings = {}) => ({ ...before, ...setting(text) }));
}

/** One `name=value`. */
export function setting(text: string): Settings {
  const [, name, value] = /^([^=]+)=(.*)$/s.exec(text) ?? [];
  if (name === undefined) throw new InvalidArgumentError('write a name and a value, such as disk=./a.img.');
  return { [name]: value! };
}

function nameDevice({ name, set, code }: WantedDevice): NamedDevice {
  if (isDeviceFile(name)) {
    const load = async (): Promise<DeviceKind> => {
      const { DeviceFile } = await import('../device-file/device-file.js');
      const given = code && (await import('../device-file/device-code.js')).decodeCode(code);
      const file = new DeviceFile(given ?? name, set);
      const make = await file.load(given);
      return { name, options: [], make: () => make(), file };
    };
    return { name, options: [], set, isFile: true, load };
  }
  const kind = KINDS.find((k) => k.name === name || `virtio-${k.name}` === name);
  if (kind !== undefined) {
    const [option] = Object.keys(set);
    if (option === undefined) {
      const { name, options } = kind;
      const load = async (): Promise<DeviceKind> => ({ name, options, make: await kind.load() });
      return { name, options, set, isFile: false, load };
    }
    throw new UsageError(
      `--set is for devices of your own: an option of '${name}' is written as --help has it, not --set ${option}=`,
    );
  }
  const names = KINDS.map((k) => k.name).join(', ');
  throw new UsageError(
    `there is no device '${name}': take one of ${names}, or a file such as ./my-device.ts`,
  );
}

/** The options of devices as they are written, for one of these. */
export function writtenOptions({ name, options, set }: NamedDevice, given: DeviceOptions): string[] {
  const flags = options.flatMap((key) => {
    const value = given[key];
    if (value === undefined) return [];
    return [OPTIONS[key].long!, key === 'first' || key === 'every' ? `${value}ms` : `${value}`];
  });
  return [name, ...flags, ...Object.entries(set).flatMap(([key, value]) => ['--set', `${key}=${value}`])];
}

/** `--vectors`, for the commands that serve over vfio-user. */
export function vectorsOption(): Option {
  return new Option('--vectors <n>', 'vfio-user: MSI-X vectors; 0 for INTx').argParser((text) => {
    if (!/^\d+$/.test(text) || Number(text) > 2048)
      throw new InvalidArgumentError('write a whole number from 0 to 2048.');
    return Number(text);
  });
}

function count(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1 || value > 0xffff_ffff) {
    throw new InvalidArgumentError('write a whole number from 1 to 4294967295.');
  }
  return value;
}
