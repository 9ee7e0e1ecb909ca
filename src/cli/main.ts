#!/usr/bin/env node
// Loads nothing but Node's own modules: what is wrong with the rest can then be said in words.
import { readdirSync, readFileSync } from 'node:fs';

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

/** Files that are open already, such as those which whoever started this process left open in it. */
function openFiles(): number {
  try {
    return readdirSync('/proc/self/fd').length;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EMFILE' ? limit : 0;
  }
}

/** Files open at a time while the program is loaded, and some for what it is to do. */
const ENOUGH = 128;
/** How many of them must not be open yet: with fewer, loading fails, and Node says that packages are missing. */
const FREE = 90;

const limit = fileLimit();
if (limit < ENOUGH || limit - openFiles() < FREE) tooFew();
else await run();

/** A module that needs much loads it when it has to: Node opens all files at once that a module needs from the start, and few files may be allowed. */
async function run(): Promise<void> {
  await (await import('./program.js')).runProgram();
}

function tooFew(): void {
  const more = limit < ENOUGH ? ENOUGH : 2 * limit;
  process.stderr.write(
    `virtio-misc: this process may have only ${limit} files open at a time: allow it ${more} or more (ulimit -n ${more})\n`,
  );
  process.exitCode = 1;
}
