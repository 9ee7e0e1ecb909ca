import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { kept } from './cost/kept.js';
import { alternate } from './harness/alternate.js';
import { appears } from './harness/appears.js';
import type { Bench, BenchContext, Cell, Started, Table } from './harness/bench.js';
import { figure } from './harness/figure.js';
import { serveCommand } from './harness/serve-command.js';

const SERVED = fileURLToPath(new URL('./cost/served.js', import.meta.url));
const FRONTENDS = fileURLToPath(new URL('./cost/frontends.js', import.meta.url));
const COUNTS = [0, 1, 10, 100];
/** ms in which an idle process is looked at, and before: for half a minute after the last work the engine tidies up now and then. */
const IDLE = 10_000;
const SETTLE = 40_000;

/** What a process costs that serves idle front-ends, and how soon a new one answers. */
export const cost: Bench = async (context) => [
  await idle(context),
  await start(context),
  await kept(context, SERVE),
];

/** The program's own command, with a keeper and without. */
const SERVE = {
  'serve test, in one process': (socket: string) => serveCommand('test', '--vhost-user', socket),
  'serve test, with a keeper': (socket: string) => serveCommand('test', '--keeper', '--vhost-user', socket),
  'serve test, with a keeper and metrics': (socket: string) =>
    serveCommand('test', '--keeper', '--metrics', '0', '--vhost-user', socket),
};

/** What the kernel says of a process. */
interface Held {
  /** KiB. */
  readonly resident: number;
  readonly descriptors: number;
  /** Clock ticks. */
  readonly ticks: number;
  /** Times that one of its threads went to sleep by itself: so many times it was awake. */
  readonly sleeps: number;
}

function held(pid: number): Held {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  let sleeps = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const of = readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8');
    sleeps += Number(/^voluntary_ctxt_switches:\s*(\d+)/m.exec(of)![1]);
  }
  return {
    resident: Number(/^VmRSS:\s*(\d+)/m.exec(status)![1]),
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    ticks: Number(stat[11]) + Number(stat[12]),
    sleeps,
  };
}

async function idle(context: BenchContext): Promise<Table> {
  const counts = context.quick ? [0, 2] : COUNTS;
  context.progress(`cost: ${counts.join(', ')} idle front-ends`);
  // Idle, they are in nobody's way.
  const all = await Promise.all(counts.map((count) => idleWith(context, count)));
  const none = all[0]!.after.resident;
  const rows: Cell[][] = counts.map((count, index) => {
    const { before, after } = all[index]!;
    return [
      count,
      after.resident / 1024,
      count === 0 ? undefined : (after.resident - none) / count,
      after.descriptors,
      (after.ticks - before.ticks) * 10,
      after.sleeps - before.sleeps,
    ];
  });
  return {
    title: `cost: a process with idle front-ends, and what it does in ${context.time(IDLE) / 1000} s`,
    columns: ['front-ends', 'resident MiB', 'KiB each', 'descriptors', 'CPU ms', 'wake-ups'],
    rows,
    notes: [
      `Front-ends of virtio-test over vhost-user, each with a driver that had one answer and sleeps, since ${context.time(SETTLE) / 1000} s. Wake-ups are counted over all threads.`,
    ],
  };
}

async function idleWith(context: BenchContext, count: number): Promise<{ before: Held; after: Held }> {
  const sockets = Array.from({ length: Math.max(1, count) }, (_, i) =>
    join(context.folder, `cost-${count}-${i}.sock`),
  );
  const served = context.start([process.execPath, SERVED, ...sockets]);
  let frontends: Started | undefined;
  try {
    await appears(sockets.at(-1)!, served);
    if (count > 0) {
      const ready = join(context.folder, `cost-${count}.ready`);
      frontends = context.start([process.execPath, FRONTENDS, ready, ...sockets]);
      await appears(ready, frontends);
    }
    await sleep(context.time(SETTLE));
    const before = held(served.pid);
    await sleep(context.time(IDLE));
    return { before, after: held(served.pid) };
  } finally {
    await frontends?.stop();
    await served.stop();
  }
}

async function start(context: BenchContext): Promise<Table> {
  let number = 0;
  const once = async (command: (socket: string) => string[]): Promise<number> => {
    const socket = join(context.folder, `cost-start-${number++}.sock`);
    const ready = `${socket}.ready`;
    const driver = context.start([process.execPath, FRONTENDS, ready, `--wait`, socket]);
    try {
      await appears(`${ready}.waiting`, driver);
      const begun = process.hrtime.bigint();
      const served = context.start(command(socket));
      try {
        await appears(ready, driver);
        return Number(BigInt(readFileSync(ready, 'utf8')) - begun) / 1e6;
      } finally {
        await served.stop();
      }
    } finally {
      await driver.stop();
    }
  };
  context.progress('cost: start to first answer');
  const commands = {
    'node, an empty program': undefined,
    ...SERVE,
    'serve() in a program of its own': (socket: string) => [process.execPath, SERVED, socket],
  };
  const contenders = Object.values(commands).map((command) => async (): Promise<number> => {
    if (command !== undefined) return once(command);
    const begun = process.hrtime.bigint();
    await context.run([process.execPath, '-e', '0']);
    return Number(process.hrtime.bigint() - begun) / 1e6;
  });
  const samples = await alternate(context.rounds, contenders);
  return {
    title: 'cost: from the start of the process to the first answer, ms',
    columns: ['', 'ms'],
    rows: Object.keys(commands).map((name, index) => [name, figure(samples[index]!)]),
    notes: [
      'The driver runs already, tries to connect each millisecond, negotiates, and sends one request. An empty program is started and ended.',
    ],
  };
}
