import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { alternate } from './harness/alternate.js';
import {
  type Bench,
  type BenchContext,
  BenchError,
  type Cell,
  type Started,
  type Table,
} from './harness/bench.js';
import { figure } from './harness/figure.js';

const SERVED = fileURLToPath(new URL('./cost/served.js', import.meta.url));
const FRONTENDS = fileURLToPath(new URL('./cost/frontends.js', import.meta.url));
const COMMAND_LINE = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));
const COUNTS = [0, 1, 10, 100];
/** ms in which an idle process is looked at. */
const IDLE = 10_000;
/** ms to wait for what must come, and between two looks. */
const PATIENCE = 60_000;
const LOOK = 20;

/** What a process costs that serves idle front-ends, and how soon a new one answers. */
export const cost: Bench = async (context) => [await idle(context), await start(context)];

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
  const rows: Cell[][] = [];
  let none = 0;
  for (const count of context.quick ? [0, 2] : COUNTS) {
    context.progress(`cost: ${count} idle front-ends`);
    const sockets = Array.from({ length: Math.max(1, count) }, (_, i) =>
      join(context.folder, `cost-${count}-${i}.sock`),
    );
    const served = context.start([process.execPath, SERVED, ...sockets]);
    let frontends: Started | undefined;
    try {
      await appears(sockets.at(-1)!);
      if (count > 0) {
        const ready = join(context.folder, `cost-${count}.ready`);
        frontends = context.start([process.execPath, FRONTENDS, ready, ...sockets]);
        await appears(ready);
      }
      // What starting left to do is done when nothing is done any more.
      let before = held(served.pid);
      for (let still = 0; still < 10; ) {
        await sleep(LOOK * 5);
        const now = held(served.pid);
        still = now.ticks === before.ticks && now.sleeps === before.sleeps ? still + 1 : 0;
        before = now;
      }
      await sleep(context.time(IDLE));
      const after = held(served.pid);
      if (count === 0) none = after.resident;
      rows.push([
        count,
        after.resident / 1024,
        count === 0 ? undefined : (after.resident - none) / count,
        after.descriptors,
        (after.ticks - before.ticks) * 10,
        after.sleeps - before.sleeps,
      ]);
    } finally {
      await frontends?.stop();
      await served.stop();
    }
  }
  return {
    title: `cost: a process with idle front-ends, and what it does in ${context.time(IDLE) / 1000} s`,
    columns: ['front-ends', 'resident MiB', 'KiB each', 'descriptors', 'CPU ms', 'wake-ups'],
    rows,
    notes: [
      'Front-ends of virtio-test over vhost-user, each with a driver that had one answer and sleeps. Wake-ups are counted over all threads.',
    ],
  };
}

async function start(context: BenchContext): Promise<Table> {
  let number = 0;
  const once = async (command: (socket: string) => string[]): Promise<number> => {
    const socket = join(context.folder, `cost-start-${number++}.sock`);
    const ready = `${socket}.ready`;
    const driver = context.start([process.execPath, FRONTENDS, ready, `--wait`, socket]);
    try {
      await appears(`${ready}.waiting`);
      const begun = process.hrtime.bigint();
      const served = context.start([process.execPath, ...command(socket)]);
      try {
        await appears(ready);
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
    'virtio-misc serve test': (socket: string) => [
      COMMAND_LINE,
      'serve',
      'test',
      '--quiet',
      '--no-watch',
      '--vhost-user',
      socket,
    ],
    'serve() in a program of its own': (socket: string) => [SERVED, socket],
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

async function appears(path: string): Promise<void> {
  for (let waited = 0; !existsSync(path); waited += LOOK) {
    if (waited > PATIENCE) throw new BenchError(`${path} did not come`);
    await sleep(LOOK);
  }
}
