import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { endWithParent } from '../linux/parent-death.js';

/**
 * Ends this process (SIGTERM) with the shell that npx or npm started it through. npm passes a signal on to that shell alone, which does
 * not pass it on, so that `npx virtio-misc serve ... &` and a `kill` of it would leave the server running.
 */
export function endWithNpm(): void {
  if (process.env.npm_execpath === undefined) return;
  let command: string[];
  try {
    command = readFileSync(`/proc/${process.ppid}/cmdline`, 'utf8').split('\0');
  } catch {
    // Gone by now, or not ours to look at.
    command = [];
  }
  const [shell = '', option, script = ''] = command;
  // A script that starts the server in the background means it to outlive the shell.
  if (/^(ba|da|k|z|a)?sh$/.test(basename(shell)) && option === '-c' && !script.includes('&'))
    endWithParent('SIGTERM');
}
