import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { VmError } from './vm-error.js';

/**
 * Does `work` while holding an exclusive lock on `file`, among all processes of the machine.
 *
 * The lock is the kernel's (flock), held by a child that lives as long as its input stays open: when this process dies,
 * however it dies, the lock is free. Node itself has no way to lock a file.
 */
export async function withLock<T>(file: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  if (signal?.aborted) throw new VmError('ABORTED', 'stopped');
  // A session of its own: a terminal's Ctrl-C must not take the lock away from a process that is still cleaning up.
  const holder = spawn('flock', ['--exclusive', file, 'sh', '-c', 'echo; exec cat'], {
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
  });
  let errors = '';
  holder.stderr.setEncoding('utf8').on('data', (piece: string) => {
    errors += piece;
  });
  // Its end closes the pipe under us; that is heard of through 'close'.
  holder.stdin.on('error', () => {});
  const closed = new Promise<Error>((resolve) => {
    holder.on('error', () =>
      resolve(new VmError('HOST', "there is no program 'flock' on this machine (util-linux)")),
    );
    holder.on('close', () => resolve(new VmError('HOST', `can't lock ${file}: ${errors.trim()}`)));
  });
  const stop = (): void => {
    // Waiting for the lock, flock reads no input: only a signal ends it. It has a group of its own with `cat`.
    if (holder.pid !== undefined) process.kill(-holder.pid, 'SIGTERM');
  };
  signal?.addEventListener('abort', stop);
  try {
    const failure = await Promise.race([once(holder.stdout, 'data').then(() => undefined), closed]);
    if (signal?.aborted) throw new VmError('ABORTED', 'stopped');
    if (failure) throw failure;
  } finally {
    signal?.removeEventListener('abort', stop);
  }
  try {
    return await work();
  } finally {
    holder.stdin.end();
    await closed;
  }
}
