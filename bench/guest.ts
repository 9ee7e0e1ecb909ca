import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import rng from '../examples/rng.js';
import { deviceArgs, type TransportName } from '../src/cli/qemu-args.js';
import { virtioMisc } from '../src/devices/misc/device.js';
import { virtioTest } from '../src/devices/test/device.js';
import type { VirtioDevice } from '../src/virtio/device.js';
import { bootGuest } from '../src/vm/boot.js';
import { prepareGuest } from '../src/vm/image.js';
import { findQemu } from '../src/vm/qemu.js';
import { appears } from './harness/appears.js';
import {
  type Bench,
  type BenchContext,
  BenchError,
  type Cell,
  type Started,
  type Table,
} from './harness/bench.js';
import { type Figure, figure, ratio } from './harness/figure.js';
import { serveCommand } from './harness/serve-command.js';

const RNG = fileURLToPath(new URL('../examples/rng.js', import.meta.url));
const LOAD = fileURLToPath(new URL('../../bench/guest-load.c', import.meta.url));
/** ms of a measurement, timers of a round. */
const SPAN = 1000;
const TIMERS = 200;

/** The rngs of the guest, in the order in which it finds them; the last is QEMU's own. */
const RNGS: readonly { readonly transport: TransportName; readonly poll: boolean }[] = [
  { transport: 'vhost-user', poll: false },
  { transport: 'vfio-user', poll: false },
  { transport: 'vhost-user', poll: true },
  { transport: 'vfio-user', poll: true },
];

/** A line of `guest-load`. */
interface Line {
  readonly what: string;
  readonly rate: number;
  readonly p50: number;
  readonly p99: number;
  readonly least: number;
}

/** What a guest sees: one Linux in one QEMU (TCG), with all devices at once. */
export const guest: Bench = async (context) => {
  context.progress('guest: getting QEMU and a Linux');
  const [qemu, image] = await Promise.all([findQemu(), prepareGuest({ tools: [LOAD] })]);
  const served: Started[] = [];
  const devices: string[] = [];
  let number = 0;
  const attach = async (
    device: VirtioDevice,
    name: string,
    transport: TransportName,
    more: readonly string[] = [],
  ): Promise<void> => {
    const id = `bench${number++}`;
    const socket = join(context.folder, `${id}.sock`);
    const server = context.start(serveCommand(name, ...more, `--${transport}`, socket));
    served.push(server);
    await appears(socket, server);
    devices.push(...deviceArgs(device, transport, socket, id));
  };
  try {
    for (const { transport, poll } of RNGS) await attach(rng(), RNG, transport, poll ? ['--poll'] : []);
    devices.push('-device', 'virtio-rng-pci');
    await attach(virtioTest()(), 'test', 'vhost-user');
    await attach(virtioMisc()(), 'misc', 'vfio-user');
    context.progress('guest: a Linux with seven devices runs');
    const lines = await load(context, qemu, image, devices);
    return tables(context, lines);
  } finally {
    await Promise.all(served.map((process) => process.stop()));
  }
};

async function load(
  context: BenchContext,
  qemu: Awaited<ReturnType<typeof findQemu>>,
  image: Awaited<ReturnType<typeof prepareGuest>>,
  devices: readonly string[],
): Promise<Line[]> {
  const lines: Line[] = [];
  const others: string[] = [];
  const { rounds, quick } = context;
  const span = context.time(SPAN);
  // virtio-test's driver has the kernel print each answer, which a serial console would make the measure of it.
  const exec = [
    'dmesg -n 1',
    `guest-load reads ${RNGS.length + 1} ${rounds} ${span}`,
    `guest-load requests ${rounds} ${span}`,
    `guest-load timers ${rounds} ${quick ? 10 : TIMERS}`,
  ].join(' && ');
  const { exitCode } = await bootGuest({
    qemu,
    image,
    exec,
    devices,
    accel: 'tcg',
    bootTimeout: 240_000,
    onConsole: (line) => {
      const json = /^bench (\{.*\})\s*$/.exec(line)?.[1];
      if (json === undefined) others.push(line);
      else lines.push(JSON.parse(json) as Line);
    },
  }).finished;
  if (exitCode !== 0)
    throw new BenchError(`the load in the guest ended with ${exitCode}: ${others.slice(-3).join('; ')}`);
  return lines;
}

function tables({ rounds }: BenchContext, lines: readonly Line[]): Table[] {
  const of = (what: string, key: 'rate' | 'p50' | 'p99'): number[] => {
    const all = lines.filter((line) => line.what === what).map((line) => line[key]);
    if (all.length !== rounds)
      throw new BenchError(`the guest said ${all.length} times what ${what} does, not ${rounds}`);
    return all;
  };
  const own = of(`rng${RNGS.length}`, 'rate');
  const rates: (readonly [string, number[], Figure | undefined])[] = [
    ["QEMU's own virtio-rng-pci", own, undefined],
    ...RNGS.map(({ transport, poll }, index) => {
      const rate = of(`rng${index}`, 'rate');
      return [`examples/rng.ts, ${transport}${poll ? ', --poll' : ''}`, rate, ratio(rate, own)] as const;
    }),
  ];
  const early = lines.find(({ what, least }) => what === 'virtio-misc' && least < 0);
  if (early !== undefined) throw new BenchError(`a timer was ${-early.least} us early`);
  const late = (name: string, what: string): Cell[] => [
    name,
    figure(of(what, 'p50')),
    figure(of(what, 'p99')),
  ];
  return [
    {
      title: 'guest: reads of 8 bytes from /dev/hwrng, one guest',
      columns: ['', 'reads/s', 'ratio to QEMU'],
      rows: rates.map(([name, rate, to]) => [name, figure(rate), to]),
      notes: [
        "Linux's driver asks a device for 64 bytes at a time and hands them out, so that each eighth read is a round trip.",
      ],
    },
    {
      title: "guest: virtio-test's requests over vhost-user, one after the other",
      columns: ['', 'requests/s'],
      rows: [['write to /dev/virtio_misc', figure(of('test', 'rate'))]],
    },
    {
      title: 'guest: how late timers of 1 to 4 ms are, by its own clock, us',
      columns: ['', 'p50', 'p99'],
      rows: [late("the kernel's hrtimer", 'hrtimer'), late('virtio-misc over vfio-user', 'virtio-misc')],
      notes: [
        "virtio-misc: from before the ioctl that sets it, so that setting it is counted, to the driver's interrupt.",
      ],
    },
  ];
}
