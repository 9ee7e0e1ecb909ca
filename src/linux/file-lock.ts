import { closeSync, constants, fstatSync, openSync, rmSync, statSync } from 'node:fs';
import { OsError } from '../transports/os-error.js';
import { lastError } from './errno.js';
import { flock } from './libc.js';

const LOCK_EX = 2;
const LOCK_NB = 4;
/** How long to wait for another process, whose work under the lock takes less than a millisecond. */
const PATIENCE_MS = 2000;
const LOOK_MS = 2;

/**
 * Does `work` while no other process does its own under the same lock, which is a file at `path` for as long. The lock is the kernel's:
 * it ends with the process that has it, however that ends.
 *
 * @throws OsError `EAGAIN` when another process keeps it.
 */
export function withFileLock<T>(path: string, work: () => T): T {
  const fd = lock(path);
  try {
    return work();
  } finally {
    // While it is locked: whoever waits for it sees then that it has another file, or none.
    rmSync(path, { force: true });
    closeSync(fd);
  }
}

function lock(path: string): number {
  const deadline = performance.now() + PATIENCE_MS;
  const nap = new Int32Array(new SharedArrayBuffer(4));
  for (;;) {
    const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
    const code = flock(fd, LOCK_EX | LOCK_NB) === 0 ? undefined : lastError();
    if (code === undefined && isAt(path, fd)) return fd;
    closeSync(fd);
    if (code !== undefined && code !== 'EAGAIN' && code !== 'EINTR')
      throw new OsError(code, 'flock', `lock ${path}`);
    if (performance.now() > deadline)
      throw new OsError('EAGAIN', 'flock', `lock ${path}: another process keeps it`);
    Atomics.wait(nap, 0, 0, LOOK_MS);
  }
}

function isAt(path: string, fd: number): boolean {
  const there = statSync(path, { throwIfNoEntry: false, bigint: true });
  const ours = fstatSync(fd, { bigint: true });
  return there !== undefined && there.dev === ours.dev && there.ino === ours.ino;
}
