import { type Command, InvalidArgumentError, Option } from 'commander';
import ms from 'ms';
import { virtioMisc } from '../devices/misc/device.js';
import { virtioTest } from '../devices/test/device.js';
import type { VirtioDevice } from '../virtio/device.js';
import { UsageError } from './usage-error.js';

/** The options of all devices, as commander leaves them. */
export interface DeviceOptions {
  readonly variant?: 'echo' | 'events';
  readonly first?: number;
  readonly every?: number;
  readonly maxTimers?: number;
}

/** A device that ships with the program. */
export interface DeviceKind {
  readonly name: string;
  readonly summary: string;
  /** The names of the options that it takes. */
  readonly options: readonly (keyof DeviceOptions)[];
  make(options: DeviceOptions): VirtioDevice;
}

const KINDS: readonly DeviceKind[] = [
  {
    name: 'test',
    summary: 'virtio-test (id 45): answers requests, or pushes config changes',
    options: ['variant', 'first', 'every'],
    make: virtioTest,
  },
  {
    name: 'misc',
    summary: 'virtio-misc (id 70): timers for the guest',
    options: ['maxTimers'],
    make: virtioMisc,
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

/** One line for each device, for help texts. */
export const DEVICE_LIST: string = KINDS.map((kind) => `  ${kind.name.padEnd(6)} ${kind.summary}`).join('\n');

/** Gives a command the options of all devices. */
export function addDeviceOptions(command: Command): Command {
  for (const option of Object.values(OPTIONS)) command.addOption(option);
  return command;
}

/** @throws UsageError when there is no such device, or an option is for none of these. */
export function findDevices(names: readonly string[], options: DeviceOptions): DeviceKind[] {
  const kinds = names.map((name) => {
    const kind = KINDS.find((k) => k.name === name);
    if (kind !== undefined) return kind;
    throw new UsageError(`there is no device '${name}': take one of ${KINDS.map((k) => k.name).join(', ')}`);
  });
  for (const key of Object.keys(OPTIONS) as (keyof DeviceOptions)[]) {
    if (options[key] !== undefined && !kinds.some((kind) => kind.options.includes(key))) {
      throw new UsageError(`${OPTIONS[key].long} is not an option of the device '${names.join(', ')}'`);
    }
  }
  if ((options.first !== undefined || options.every !== undefined) && options.variant !== 'events') {
    throw new UsageError('--first and --every need --variant events');
  }
  return kinds;
}

/** `findDevices` for one. */
export function findDevice(name: string, options: DeviceOptions): DeviceKind {
  return findDevices([name], options)[0]!;
}

/** `--vectors`, for the commands that serve over vfio-user. */
export function vectorsOption(): Option {
  return new Option('--vectors <n>', 'vfio-user: MSI-X vectors; 0 for INTx').argParser((text) => {
    if (!/^\d+$/.test(text) || Number(text) > 2048)
      throw new InvalidArgumentError('write a whole number from 0 to 2048.');
    return Number(text);
  });
}

/** @returns ms */
function duration(text: string): number {
  const value = ms(text as ms.StringValue);
  if (value === undefined || !(value > 0))
    throw new InvalidArgumentError('write a time such as 500ms, 3s or 1m.');
  return value;
}

function count(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1 || value > 0xffff_ffff) {
    throw new InvalidArgumentError('write a whole number from 1 to 4294967295.');
  }
  return value;
}
