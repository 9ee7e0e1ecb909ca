import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach } from 'node:test';
import { keeperServing } from './keeper-process.js';

/** Where a test's files, its keeper's socket and its log are; new for each test. */
export let folder: string;
export let socket: string;
export let log: string;
/** Ended with the test, whatever came of it. */
const keepers: ChildProcess[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  socket = join(folder, 'device.sock');
  log = join(folder, 'log');
});
afterEach(() => {
  for (const keeper of keepers.splice(0)) keeper.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

/** As `keeperServing`, until the test is over. */
export async function serving(...how: Parameters<typeof keeperServing>): Promise<ChildProcess> {
  const keeper = await keeperServing(...how);
  keepers.push(keeper);
  return keeper;
}

/** What the keeper and its workers have logged. */
export function said(): string {
  return readFileSync(log, 'utf8');
}
