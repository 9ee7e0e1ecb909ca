import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { KEEPER_VARIABLE } from '../../src/keeper/frames.js';
import { appears } from '../harness/appears.js';
import type { BenchContext, Cell, Table } from '../harness/bench.js';
import { family, memoryOf, processorTime, variableOf } from '../harness/processes.js';

const FRONTENDS = fileURLToPath(new URL('./frontends.js', import.meta.url));
/** ms after which a process has done what it does after a start. */
const SETTLE = 15_000;

/** What each process takes of a device that is served with a keeper, or without. @param commands - of `serve`, by what they are called. */
export async function kept(
  context: BenchContext,
  commands: Readonly<Record<string, (socket: string) => readonly string[]>>,
): Promise<Table> {
  const rows: Cell[][] = [];
  for (const [index, [name, command]] of Object.entries(commands).entries()) {
    context.progress(`cost: the processes of ${name}`);
    const socket = join(context.folder, `cost-kept-${index}.sock`);
    const served = context.start(command(socket));
    const ready = `${socket}.ready`;
    await appears(socket, served);
    const frontend = context.start([process.execPath, FRONTENDS, ready, socket]);
    await appears(ready, frontend);
    await sleep(context.time(SETTLE));
    let share = 0;
    const pids = family(served.pid).map(({ pid }) => pid);
    const names = roles(pids);
    for (const [nth, pid] of pids.entries()) {
      const memory = memoryOf(pid);
      share += memory.share;
      const figures = [memory.resident / 1024, memory.share / 1024, processorTime(pid) / 1e6];
      rows.push([nth === 0 ? name : '', names[nth], ...figures]);
    }
    if (pids.length > 1) rows.push(['', 'in all', undefined, share / 1024, undefined]);
    await frontend.stop();
    await served.stop();
  }
  return {
    title: 'cost: the processes of a device with one idle front-end',
    columns: ['', 'process', 'resident MiB', 'its share, MiB', 'CPU ms so far'],
    rows,
    notes: [
      `${context.time(SETTLE) / 1000} s after the first answer. Of a share, what several processes have mapped is counted in part for each (Pss).`,
    ],
  };
}

/** What each of a family is for, the oldest first: of two workers it serves. */
function roles(pids: readonly number[]): string[] {
  if (pids.length === 1) return ['the process'];
  let workers = 0;
  return pids.map((pid, nth) => {
    if (nth === 0) return 'keeper';
    if (variableOf(pid, KEEPER_VARIABLE) === undefined) return 'desk';
    workers += 1;
    return workers === 1 ? 'worker' : 'one more, ready';
  });
}
