import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { alternate } from './harness/alternate.js';
import type { Bench, BenchContext, Cell, Table } from './harness/bench.js';
import { figure, ratio } from './harness/figure.js';

const ENGINE = fileURLToPath(new URL('./timers/engine.js', import.meta.url));
const LATENESS = fileURLToPath(new URL('./timers/lateness.js', import.meta.url));
const SERVED = fileURLToPath(new URL('./timers/served.js', import.meta.url));

const COUNTS = [1000, 10_000, 100_000, 1_000_000];
/** Timers, and ms over which they expire. */
const LATE = 10_000;
const SPAN = 1000;
/** ms in which so many timers are surely set through a ring. */
const HOLD = (count: number): number => 1000 + count / 100;

/** What virtio-misc's timers cost, beside a heap in C; how late they are, beside one timerfd in C; and all of it through the ring. */
export const timers: Bench = async (context) => [
  await engine(context),
  await lateness(context),
  await throughTheRing(context),
];

interface Costs {
  readonly arm: number;
  readonly cancel: number;
  readonly expire: number;
  readonly bytes: number;
}

async function engine(context: BenchContext): Promise<Table> {
  const heap = await context.yardstick('timers-heap');
  const cpu = context.cpus[0];
  const rows: Cell[][] = [];
  for (const count of context.quick ? [1000] : COUNTS) {
    const numbers = [String(count), String(context.time(300))];
    context.progress(`timers: ${count}`);
    const [c, ours] = (await alternate(context.rounds, [
      async () => JSON.parse(await context.run([heap, ...numbers], { cpu })) as Costs,
      async () => JSON.parse(await context.run([process.execPath, ENGINE, ...numbers], { cpu })) as Costs,
    ])) as [Costs[], Costs[]];
    for (const [name, samples] of [
      ['C, 4-ary heap', c],
      ['virtio-misc', ours],
    ] as const) {
      rows.push([
        name,
        count,
        ...(['arm', 'cancel', 'expire'] as const).flatMap((what): Cell[] => {
          const rates = samples.map((sample) => 1000 / sample[what]);
          return [
            figure(rates),
            samples === c
              ? undefined
              : ratio(
                  rates,
                  c.map((sample) => 1000 / sample[what]),
                ).median,
          ];
        }),
        samples.at(-1)!.bytes,
      ]);
    }
  }
  return {
    title: 'timers: the engine alone, M/s of processor time',
    columns: ['', 'timers', 'arm', 'ratio', 'cancel', 'ratio', 'expire', 'ratio', 'bytes each'],
    rows,
    notes: [
      'Deadlines by chance within one second, ids one after the other. C has all its memory from the start; virtio-misc has it when it is needed.',
    ],
  };
}

interface Lateness {
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
}

async function lateness(context: BenchContext): Promise<Table> {
  const timerfd = await context.yardstick('timers-timerfd');
  const cpu = context.cpus.at(-1);
  const numbers = [String(context.quick ? 100 : LATE), String(context.time(SPAN))];
  context.progress('timers: lateness');
  const [c, ours] = (await alternate(context.rounds, [
    async () => JSON.parse(await context.run([timerfd, ...numbers], { cpu })) as Lateness,
    async () => JSON.parse(await context.run([process.execPath, LATENESS, ...numbers], { cpu })) as Lateness,
  ])) as [Lateness[], Lateness[]];
  const quantiles = ['p50', 'p99', 'p999'] as const;
  const of = (samples: readonly Lateness[], quantile: (typeof quantiles)[number]): number[] =>
    samples.map((sample) => sample[quantile]);
  return {
    title: `timers: how late each of ${numbers[0]} within ${numbers[1]} ms is, us`,
    columns: ['', 'p50', 'p99', 'p99.9'],
    rows: [
      ['C, one timerfd', ...quantiles.map((quantile) => figure(of(c, quantile)))],
      ['virtio-misc', ...quantiles.map((quantile) => figure(of(ours, quantile)))],
      ['ratio', ...quantiles.map((quantile) => ratio(of(ours, quantile), of(c, quantile)))],
    ],
    notes: [
      'virtio-misc: from the deadline to the interrupt for the notification, its ring being in the same process. As many go before, not counted.',
    ],
  };
}

interface Ring extends Lateness {
  readonly arm: number;
  readonly cancel: number;
  readonly expire: number;
  readonly inTime: boolean;
  readonly worst: number;
}

/** A front-end in C sets timers, cancels half and takes the notifications, while another has its echoes from the same process. */
async function throughTheRing(context: BenchContext): Promise<Table> {
  const [frontend, echo] = await Promise.all([
    context.yardstick('timers-frontend'),
    context.yardstick('echo-frontend'),
  ]);
  const [first, second] = context.cpus;
  const rows: Cell[][] = [];
  for (const [count, span] of context.quick
    ? ([[1000, 20]] as const)
    : ([
        [1000, SPAN],
        [10_000, SPAN],
        [100_000, SPAN],
        [1_000_000, SPAN],
        [1_000_000, 0],
      ] as const)) {
    context.progress(`timers: ${count} through the ring`);
    const misc = join(context.folder, 'timers-misc.sock');
    const other = join(context.folder, 'timers-echo.sock');
    const served = context.start([process.execPath, SERVED, misc, other, String(count)], { cpu: first });
    try {
      const hold = context.quick ? 50 : HOLD(count);
      // What is compiled while it runs is compiled now.
      const early = String(context.quick ? 100 : Math.min(count, LATE));
      await context.run([frontend, misc, early, String(context.quick ? 50 : HOLD(LATE)), String(span)], {
        cpu: second,
      });
      await context.run([echo, other, '1', '50', String(context.time(SPAN)), 'sleep'], { cpu: second });
      const meanwhile = context.run([echo, other, '1', '50', String(hold + span + 200), 'sleep'], {
        cpu: second,
      });
      const line = await context.run([frontend, misc, String(count), String(hold), String(span)], {
        cpu: second,
      });
      const ring = JSON.parse(line) as Ring;
      const trips = JSON.parse(await meanwhile) as { p50: number; p999: number; worst: number };
      rows.push([
        `${count} within ${span} ms`,
        ring.arm,
        ring.cancel,
        span === 0 ? ring.expire : undefined,
        ring.p50,
        ring.p99,
        ring.p999,
        trips.p50,
        trips.p999,
        trips.worst / 1e3,
        ring.inTime ? '' : 'not all were set in time',
      ]);
    } finally {
      await served.stop();
    }
  }
  return {
    title:
      'timers: through the ring, half of them cancelled, while a second front-end of the same process has its echoes',
    columns: [
      'timers',
      'arm /s',
      'cancel /s',
      'expire /s',
      'late p50 us',
      'p99 us',
      'p99.9 us',
      "other's trips p50 us",
      'p99.9 us',
      'worst ms',
      '',
    ],
    rows,
    notes: [
      'One run each, after one of up to 10,000 timers that is not counted. Both front-ends share a CPU; the second has one request under way all the time.',
    ],
  };
}
