import assert from 'node:assert/strict';
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectVhostUser } from '../../src/connect.js';
import { TestDriver } from '../../src/devices/test/driver.js';
import { MAIN } from '../virtio-misc.js';

/** Where a test's files and its server's socket are; new for each test. */
export let folder: string;
export let socket: string;
/** Ended with the test, whatever came of it. */
export const children: ChildProcess[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  socket = join(folder, 'device.sock');
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

/** Waits for what a process of its own brings about. */
export async function until(there: () => boolean): Promise<void> {
  while (!there()) await sleep(10);
}

/** Whether somebody listens at the socket: the file is there a moment earlier. */
export function listened(): boolean {
  const [, ...lines] = readFileSync('/proc/net/unix', 'utf8').split('\n');
  return lines.some((line) => line.endsWith(` ${socket}`) && line.split(' ')[3] === '00010000');
}

/** Starts `serve`, and waits for its socket. */
export async function serving(
  args: readonly string[],
  stdio: StdioOptions = ['ignore', 'ignore', 'pipe'],
): Promise<ChildProcess> {
  const child = spawn(process.execPath, [MAIN, 'serve', ...args, '--vhost-user', socket, '--log', 'json'], {
    stdio,
  });
  children.push(child);
  await until(() => listened() || child.exitCode !== null);
  return child;
}

/** Sends a signal, and waits for the end: [exit code, signal]. */
export async function ends(child: ChildProcess, signal: NodeJS.Signals): Promise<unknown[]> {
  const exit = once(child, 'exit');
  child.kill(signal);
  return exit;
}

/** Makes requests as a driver, 32 at a time, and looks at each answer. */
export async function requests(count: number): Promise<void> {
  const driver = await TestDriver.open(await connectVhostUser(socket));
  for (let done = 0; done < count; done += 32) {
    const answers = await Promise.all(Array.from({ length: 32 }, (_, i) => driver.write(i)));
    assert.deepEqual(
      answers.map(({ ret }) => ret),
      answers.map((_, i) => i + 101),
    );
  }
  await driver.close();
}
