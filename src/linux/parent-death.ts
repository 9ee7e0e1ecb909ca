import { constants } from 'node:os';
import { check } from './errno.js';
import { prctl } from './libc.js';

const PR_SET_PDEATHSIG = 1;

/** Has the kernel send this process a signal when the process that started it ends. */
export function endWithParent(signal: NodeJS.Signals): void {
  const parent = process.ppid;
  check(prctl(PR_SET_PDEATHSIG, constants.signals[signal]), 'prctl', 'hear of the end of the parent process');
  // It may have ended before.
  if (process.ppid !== parent) process.kill(process.pid, signal);
}
