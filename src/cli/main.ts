#!/usr/bin/env node
// Loads nothing but Node's own modules: what is wrong with the rest can then be said in words.
import { readFileSync } from 'node:fs';

// Node would open its inspector, which lets anybody on this machine who can connect run code in here.
process.on('SIGUSR1', () => {});

/** How many files this process may have open. */
function fileLimit(): number {
  try {
    const limits = readFileSync('/proc/self/limits', 'utf8');
    return Number(/^Max open files +(\d+)/m.exec(limits)?.[1] ?? Number.POSITIVE_INFINITY);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EMFILE' ? 0 : Number.POSITIVE_INFINITY;
  }
}

/** Files open at a time while the program is loaded, and some for what it is to do. */
const ENOUGH = 64;

const limit = fileLimit();
if (limit < ENOUGH) {
  process.stderr.write(
    `virtio-misc: this process may have only ${limit} files open at a time: allow it ${ENOUGH} or more (ulimit -n ${ENOUGH})\n`,
  );
  process.exitCode = 1;
} else {
  const { runProgram } = await import('./program.js');
  await runProgram();
}
