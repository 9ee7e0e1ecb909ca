import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { MAIN, start } from '../virtio-misc.js';
import { children, ends, folder, listened, requests, serving, socket, until } from './servers.js';

test('a fatal signal is what it ends of, and its socket is removed first', async () => {
  const signals = ['SIGHUP', 'SIGQUIT', 'SIGABRT', 'SIGUSR2', 'SIGALRM'] as const;
  const ends = signals.map(async (signal) => {
    const path = join(folder, signal);
    const child = start(['serve', 'test', '--vhost-user', path, '--log', 'json']);
    children.push(child);
    const exit = once(child, 'exit');
    for await (const line of createInterface({ input: child.stderr! })) if (line.includes('serving')) break;
    child.stderr!.resume();
    child.kill(signal);
    return [...(await exit), existsSync(path)];
  });
  assert.deepEqual(
    await Promise.all(ends),
    signals.map((signal) => [null, signal, false]),
  );
});

test('SIGUSR1 opens no inspector', async () => {
  const child = await serving(['test', '--quiet']);
  let said = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const closed = once(child.stderr!, 'close');
  child.kill('SIGUSR1');
  await requests(32);
  assert.deepEqual(await ends(child, 'SIGTERM'), [0, null]);
  await closed;
  assert.doesNotMatch(said, /Debugger|inspector/);
});

test('too few descriptors: one line that says what to do', async () => {
  const command = `ulimit -n 48; exec "$0" "$@"`;
  const child = spawn(
    'bash',
    ['-c', command, process.execPath, MAIN, 'serve', 'test', '--vhost-user', socket],
    {
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  );
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  assert.deepEqual(await once(child, 'close'), [1, null]);
  assert.equal(
    said,
    'virtio-misc: this process may have only 48 files open at a time: allow it 64 or more (ulimit -n 64)\n',
  );
});

test('three servers that find a stale socket at once: one has it', async () => {
  for (let round = 0; round < 2; round++) {
    const dead = await serving(['test']);
    await ends(dead, 'SIGKILL');
    assert.equal(existsSync(socket), true);
    const three = Array.from({ length: 3 }, () =>
      start(['serve', 'test', '--vhost-user', socket, '--log', 'json']),
    );
    children.push(...three);
    const outcomes = await Promise.all(
      three.map(async (child) => {
        for await (const line of createInterface({ input: child.stderr! })) {
          if (line.includes('serving')) return 'serves';
          if (/another process|EADDRINUSE/.test(line)) return 'refused';
        }
        return 'silent';
      }),
    );
    assert.deepEqual(outcomes.sort(), ['refused', 'refused', 'serves']);
    await requests(32);
    const exits = three.map((child) =>
      child.exitCode === null ? once(child, 'exit') : [child.exitCode, null],
    );
    for (const child of three) child.kill('SIGTERM');
    assert.deepEqual((await Promise.all(exits)).map(([code]) => code).sort(), [0, 1, 1]);
    assert.equal(existsSync(socket) || existsSync(`${socket}.lock`), false);
  }
});

test('npx ... & and a kill of it end the server', async () => {
  const bin = join(folder, 'node_modules', '.bin');
  mkdirSync(bin, { recursive: true });
  chmodSync(MAIN, 0o755);
  symlinkSync(MAIN, join(bin, 'virtio-misc'));
  const child = spawn('npx', ['--no', 'virtio-misc', 'serve', 'test', '--vhost-user', socket], {
    stdio: ['ignore', 'ignore', 'pipe'],
    cwd: folder,
    detached: true,
  });
  try {
    child.stderr.resume();
    await until(() => listened() || child.exitCode !== null);
    assert.equal(child.exitCode, null);
    child.kill('SIGTERM');
    await until(() => !existsSync(socket));
  } finally {
    // Whatever is left of them is of that group.
    try {
      process.kill(-child.pid!, 'SIGKILL');
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, 'ESRCH');
    }
  }
});
