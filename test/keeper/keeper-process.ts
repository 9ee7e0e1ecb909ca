import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { openSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { MAIN } from '../virtio-misc.js';

/**
 * Starts `serve --keeper`, and waits until it listens.
 *
 * @param log - the file that it logs to.
 */
export async function keeperServing(
  socket: string,
  log: string,
  args: readonly string[] = ['test', '--quiet'],
  env: SpawnOptions['env'] = {},
  transport: 'vhost-user' | 'vfio-user' = 'vhost-user',
  main: string = MAIN,
): Promise<ChildProcess> {
  const words = [main, 'serve', ...args, '--keeper', `--${transport}`, socket, '--log', 'json'];
  const child = spawn(process.execPath, words, {
    stdio: ['ignore', 'ignore', openSync(log, 'w')],
    env: { ...process.env, ...env },
  });
  while (!readFileSync(log, 'utf8').includes('"serving ')) {
    if (child.exitCode !== null) throw new Error(readFileSync(log, 'utf8'));
    await sleep(10);
  }
  return child;
}

/** The workers that died over a front-end, the oldest first. */
export function deaths(log: string): number[] {
  return [...readFileSync(log, 'utf8').matchAll(/worker (\d+) (?:died of SIG|ended with)/g)].map(([, pid]) =>
    Number(pid),
  );
}

/** The worker that serves the front-end: it has mapped memory of that name. */
export function servingPid(keeper: number, memory: string): number | undefined {
  const children = readFileSync(`/proc/${keeper}/task/${keeper}/children`, 'utf8').trim().split(' ');
  return children.map(Number).find((pid) => {
    try {
      return readFileSync(`/proc/${pid}/maps`, 'utf8').includes(memory);
    } catch {
      return false;
    }
  });
}
