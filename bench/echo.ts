import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openPage } from './echo/open-page.js';
import { type Contender, type Setting, settings } from './echo/settings.js';
import { alternate } from './harness/alternate.js';
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
import { family, processorTime } from './harness/processes.js';

/** ms: before the first round, before each, and measured. */
const FIRST = 1000;
const WARM = 100;
const SPAN = 400;
/** ms before each where a process is new to it, and another is started meanwhile. */
const WARM_COLD = 2500;
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

interface Served extends Contender {
  readonly socket: string;
  readonly process: Started;
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

async function measure(context: BenchContext, frontend: string, setting: Setting): Promise<Table> {
  const { title, contenders, waits, cold = false } = setting;
  const timed = cold || setting.timed === true;
  const served = contenders.map((contender, index): Served => {
    const socket = join(context.folder, `echo-${index}.sock`);
    const process = context.start([...contender.command, socket], { cpu: setting.backend });
    return { ...contender, socket, process };
  });
  const load = async (contender: Served, outstanding: number, span: number): Promise<Timed> => {
    const { name, socket, fresh } = contender;
    context.progress(`echo: ${title}: ${name}, ${outstanding} outstanding`);
    const warm = context.time(cold ? WARM_COLD : WARM);
    const args = [socket, String(outstanding), String(warm), String(context.time(span)), waits];
    const run = context.start([frontend, ...args, ...(fresh === true ? ['fresh'] : [])], {
      cpu: setting.frontend,
    });
    const busy =
      timed && !context.quick ? await busiest(contender.process.pid, warm, span, run.output) : undefined;
    const sample = check(await run.output, name);
    return { ...sample, each: busy && (busy * sample.seconds * 1e6) / sample.requests };
  };
  const rows: Cell[][] = [];
  try {
    await Promise.all(served.map(({ socket, process }) => appears(socket, process)));
    for (const { process, page } of served) if (page === true) await openPage(process);
    // What is compiled while it runs is compiled now.
    if (!cold) for (const contender of served) await load(contender, 32, FIRST);
    for (const outstanding of context.quick ? [1, 128] : OUTSTANDING) {
      const samples = await alternate(
        context.rounds,
        served.map((contender) => () => load(contender, outstanding, SPAN)),
      );
      const rates = samples.map((rounds) => rounds.map(({ requests, seconds }) => requests / seconds));
      served.forEach(({ name, beside }, index) => {
        const own = samples[index]!;
        const other = beside === undefined ? 0 : served.findIndex((each) => each.name === beside);
        const yardstick = index === 0 || (cold && beside === undefined) ? undefined : rates[other]!;
        rows.push([
          name,
          outstanding,
          figure(rates[index]!),
          yardstick && ratio(rates[index]!, yardstick),
          ...(['p50', 'p99', 'p999'] as const).map((quantile) => figure(own.map((s) => s[quantile])).median),
          ...(timed ? [processor(own)] : []),
        ]);
      });
    }
  } finally {
    await Promise.all(served.map(({ process }) => process.stop()));
  }
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
        ? 'The ratio is to the same device without what is measured.'
        : `The ratio is to the first line of its group: ${contenders[0]!.name}.`,
      ...(cold ? ['Each front-end is served by a process that never served another.'] : []),
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
