import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openPage } from './echo/open-page.js';
import { alternate } from './harness/alternate.js';
import { type Bench, type BenchContext, BenchError, type Cell, type Table } from './harness/bench.js';
import { figure, ratio } from './harness/figure.js';

/** us that the yardstick polls for, and the device that is told to. */
const POLL = 50;
/** ms: before the first round, before each, and measured. */
const FIRST = 1000;
const WARM = 100;
const SPAN = 400;

const OUTSTANDING = [1, 8, 32, 128] as const;

const COMMAND_LINE = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));
const BY_HAND = fileURLToPath(new URL('./echo/by-hand.js', import.meta.url));

/** What the front-end prints. */
interface Sample {
  readonly requests: number;
  readonly seconds: number;
  readonly wrong: number;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
}

interface Contender {
  readonly name: string;
  readonly command: readonly string[];
  /** The text of each request is another one: what a text costs that was not the same in the request before. */
  readonly fresh?: boolean;
  /** It has a page of the inspector, which is open and read. */
  readonly page?: boolean;
}

/** Where both ends run, and what the front-end does when nothing is there for it. */
interface Setting {
  readonly title: string;
  readonly backend: number | undefined;
  readonly frontend: number | undefined;
  readonly waits: 'sleep' | 'spin';
  /** The first is what the others are compared with. */
  readonly contenders: readonly Contender[];
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

function settings({ cpus, record, inspect }: BenchContext, backend: string): Setting[] {
  const serve = (device: string, ...more: string[]): string[] => [
    process.execPath,
    COMMAND_LINE,
    'serve',
    device,
    '--quiet',
    '--no-watch',
    ...more,
    '--vhost-user',
  ];
  const sleeping: Contender[] = [
    { name: 'C', command: [backend, '0', 'elements'] },
    { name: 'C, fused', command: [backend, '0', 'fused'] },
    { name: 'by hand', command: serve(BY_HAND) },
    { name: 'structQueue', command: serve('test') },
  ];
  const fresh: Contender = { name: 'structQueue, fresh texts', command: serve('test'), fresh: true };
  const polling: Contender[] = [
    { name: `C, polls ${POLL} us`, command: [backend, String(POLL), 'elements'] },
    { name: 'by hand, --poll', command: serve(BY_HAND, '--poll') },
    { name: 'structQueue, --poll', command: serve('test', '--poll') },
    { name: `structQueue, --poll ${POLL}us`, command: serve('test', '--poll', `${POLL}us`) },
  ];
  const all = [...polling, ...sleeping];
  const [first, second] = cpus;
  if (record) {
    // The bytes go nowhere: writing them to a disk is another thread's work.
    const recorded = ['--record', '/dev/null'];
    const contenders: Contender[] = [
      { name: 'by hand', command: serve(BY_HAND) },
      { name: 'by hand, recorded', command: serve(BY_HAND, ...recorded) },
      { name: 'structQueue', command: serve('test') },
      { name: 'structQueue and its lines, recorded', command: serve('test', ...recorded) },
    ];
    const title = 'recorded, a CPU for each end';
    return [{ title, backend: first, frontend: second ?? first, waits: 'sleep', contenders }];
  }
  if (inspect) {
    const contenders: Contender[] = [
      { name: 'by hand', command: serve(BY_HAND) },
      { name: 'by hand, --inspect, nobody looks', command: serve(BY_HAND, '--inspect', '0') },
      { name: 'by hand, --inspect, a page is open', command: serve(BY_HAND, '--inspect', '0'), page: true },
      { name: 'structQueue', command: serve('test') },
      {
        name: 'structQueue and its lines, --inspect, a page is open',
        command: serve('test', '--inspect', '0'),
        page: true,
      },
    ];
    const title = 'looked at, a CPU for each end';
    return [{ title, backend: first, frontend: second ?? first, waits: 'sleep', contenders }];
  }
  const one: Setting = {
    title: first === undefined ? 'CPUs as they come' : 'one CPU for both ends',
    backend: first,
    frontend: first,
    waits: 'sleep',
    contenders: [...sleeping, fresh],
  };
  if (second === undefined) return [one];
  const two = { backend: first, frontend: second, contenders: all };
  return [
    one,
    {
      title: 'one CPU for both ends, polling',
      backend: first,
      frontend: first,
      waits: 'sleep',
      contenders: polling,
    },
    { title: 'two CPUs, the front-end sleeps', waits: 'sleep', ...two },
    { title: 'two CPUs, the front-end never sleeps', waits: 'spin', ...two },
  ];
}

async function measure(context: BenchContext, frontend: string, setting: Setting): Promise<Table> {
  const { title, contenders, waits } = setting;
  const served = contenders.map(({ name, command, fresh, page }, index) => {
    const socket = join(context.folder, `echo-${index}.sock`);
    const process = context.start([...command, socket], { cpu: setting.backend });
    return { name, socket, more: fresh === true ? ['fresh'] : [], process, page };
  });
  const load = async (
    { name, socket, more }: { name: string; socket: string; more: readonly string[] },
    outstanding: number,
    span: number,
  ) => {
    context.progress(`echo: ${title}: ${name}, ${outstanding} outstanding`);
    const numbers = [outstanding, context.time(WARM), context.time(span)].map(String);
    const line = await context.run([frontend, socket, ...numbers, waits, ...more], { cpu: setting.frontend });
    return check(line, name);
  };
  const rows: Cell[][] = [];
  try {
    for (const { process, page } of served) if (page === true) await openPage(process);
    // What is compiled while it runs is compiled now.
    for (const contender of served) await load(contender, 32, FIRST);
    for (const outstanding of context.quick ? [1, 128] : OUTSTANDING) {
      const samples = await alternate(
        context.rounds,
        served.map((contender) => () => load(contender, outstanding, SPAN)),
      );
      const rates = samples.map((rounds) => rounds.map(({ requests, seconds }) => requests / seconds));
      served.forEach(({ name }, index) => {
        const own = samples[index]!;
        rows.push([
          name,
          outstanding,
          figure(rates[index]!),
          index === 0 ? undefined : ratio(rates[index]!, rates[0]!),
          ...(['p50', 'p99', 'p999'] as const).map((quantile) => figure(own.map((s) => s[quantile])).median),
        ]);
      });
    }
  } finally {
    await Promise.all(served.map(({ process }) => process.stop()));
  }
  return {
    title: `echo: ${title}`,
    columns: ['back end', 'outstanding', 'requests/s', 'ratio', 'p50 us', 'p99 us', 'p99.9 us'],
    rows,
    notes: [`The ratio is to the first line of its group: ${contenders[0]!.name}.`],
  };
}

function check(line: string, name: string): Sample {
  const sample = JSON.parse(line) as Sample;
  if (sample.wrong > 0 || sample.requests === 0) {
    throw new BenchError(`${name}: ${sample.wrong} of ${sample.requests} answers were wrong`);
  }
  return sample;
}
