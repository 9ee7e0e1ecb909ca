import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openPage } from './echo/open-page.js';
import { type Setting, settings } from './echo/settings.js';
import { alternate } from './harness/alternate.js';
import { appears } from './harness/appears.js';
import { type Bench, type BenchContext, BenchError, type Cell, type Table } from './harness/bench.js';
import { type Figure, figure, ratio } from './harness/figure.js';
import { family, processorTime } from './harness/processes.js';

/** ms: of a process's first load, before each that is measured, and measured. */
const FIRST = 1500;
const WARM = 300;
/** ms: the same where a process is new. */
const WARM_COLD = 2500;
const SPAN = 400;
/** ms, at both ends of the time that is measured, in which processor time is not looked at. */
const MARGIN = 40;
/** ms between two looks at it. */
const LOOK = 70;

const OUTSTANDING = [1, 8, 32, 128] as const;

/** What the front-end prints. */
interface Sample {
  readonly requests: number;
  readonly seconds: number;
  readonly wrong: number;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
}

/** Processor time that the device's process took for each request, in us. */
interface Timed extends Sample {
  readonly each: number | undefined;
}

/** Requests of 48 bytes, answers of 12, over vhost-user; the front-end is in C. */
export const echo: Bench = async (context) => {
  const [backend, frontend] = await Promise.all([
    context.yardstick('echo-backend'),
    context.yardstick('echo-frontend'),
  ]);
  const tables: Table[] = [];
  for (const setting of settings(context, backend)) {
    tables.push(await measure(context, frontend, setting));
  }
  return tables;
};

/**
 * Each contender has a process of its own in each round: what the engine makes of the same program differs by a tenth and more from process to process, and
 * then stays.
 */
async function measure(context: BenchContext, frontend: string, setting: Setting): Promise<Table> {
  const { title, contenders, waits, timed = false } = setting;
  const depths = context.quick ? [1, 128] : OUTSTANDING;
  const rounds = await alternate(
    context.rounds,
    contenders.map((contender, index) => async (): Promise<Timed[]> => {
      const { name, command, page, fresh, cold } = contender;
      const warmUp = cold === true ? WARM_COLD : WARM;
      const span = context.time(SPAN);
      const socket = join(context.folder, `echo-${index}.sock`);
      rmSync(socket, { force: true });
      const device = context.start([...command, socket], { cpu: setting.backend });
      const load = async (outstanding: number, before: number): Promise<Timed> => {
        const warm = context.time(before);
        context.progress(`echo: ${title}: ${name}, ${outstanding} outstanding`);
        const args = [socket, String(outstanding), String(warm), String(span), waits];
        const run = context.start([frontend, ...args, ...(fresh === true ? ['fresh'] : [])], {
          cpu: setting.frontend,
        });
        const busy = timed && !context.quick ? await busiest(device.pid, warm, span, run.output) : undefined;
        const sample = check(await run.output, name);
        return { ...sample, each: busy && (busy * sample.seconds * 1e6) / sample.requests };
      };
      try {
        await appears(socket, device);
        if (page === true) await openPage(device);
        // What is compiled while it runs is compiled now.
        await load(32, FIRST);
        const samples: Timed[] = [];
        for (const depth of depths) samples.push(await load(depth, warmUp));
        return samples;
      } finally {
        await device.stop();
      }
    }),
  );
  const rows = depths.flatMap((outstanding, depth): Cell[][] => {
    const samples = rounds.map((own) => own.map((round) => round[depth]!));
    const rates = samples.map((own) => own.map(({ requests, seconds }) => requests / seconds));
    return contenders.map(({ name, beside }, index) => {
      const own = samples[index]!;
      const other = beside === undefined ? 0 : contenders.findIndex((each) => each.name === beside);
      return [
        name,
        outstanding,
        figure(rates[index]!),
        index === 0 ? undefined : ratio(rates[index]!, rates[other]!),
        ...(['p50', 'p99', 'p999'] as const).map((quantile) => figure(own.map((s) => s[quantile])).median),
        ...(timed ? [processor(own)] : []),
      ];
    });
  });
  return {
    title: `echo: ${title}`,
    columns: [
      'back end',
      'outstanding',
      'requests/s',
      'ratio',
      'p50 us',
      'p99 us',
      'p99.9 us',
      ...(timed ? ['CPU us each'] : []),
    ],
    rows,
    notes: [
      contenders.some(({ beside }) => beside !== undefined)
        ? 'The ratio is to the same device without what is measured; of that, to the first line of its group.'
        : `The ratio is to the first line of its group: ${contenders[0]!.name}.`,
      'Each round has new processes.',
      ...(timed ? ['CPU time is that of the process that serves, so much of it for each request.'] : []),
    ],
  };
}

/**
 * How much of a processor the busiest one of a family takes, of 1, in the middle of what is measured.
 *
 * @param pid - of the oldest.
 * @param ended - resolves when what was measured for `span` ms has just ended.
 */
async function busiest(
  pid: number,
  warm: number,
  span: number,
  ended: Promise<unknown>,
): Promise<number | undefined> {
  let over = false;
  ended.then(
    () => {
      over = true;
    },
    () => {
      over = true;
    },
  );
  await sleep(warm - LOOK);
  const samples: { readonly at: number; readonly times: ReadonlyMap<number, number> }[] = [];
  while (!over) {
    const times = new Map(family(pid).map((each) => [each.pid, processorTime(each.pid)]));
    samples.push({ at: performance.now(), times });
    await sleep(LOOK);
  }
  const end = performance.now();
  const first = samples.find(({ at }) => at >= end - span + MARGIN);
  const last = samples.findLast(({ at }) => at <= end - MARGIN);
  if (first === undefined || last === undefined || last.at <= first.at) return undefined;
  const took = (last.at - first.at) * 1e6;
  return Math.max(...[...last.times].map(([each, time]) => (time - (first.times.get(each) ?? time)) / took));
}

function check(line: string, name: string): Sample {
  const sample = JSON.parse(line) as Sample;
  if (sample.wrong > 0 || sample.requests === 0) {
    throw new BenchError(`${name}: ${sample.wrong} of ${sample.requests} answers were wrong`);
  }
  return sample;
}

function processor(samples: readonly Timed[]): Figure | undefined {
  const known = samples.flatMap(({ each }) => each ?? []);
  return known.length === 0 ? undefined : figure(known);
}
