import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { connectVfioUser } from '../../src/connect.js';
import { closeFd } from '../../src/linux/close-fd.js';
import { LinuxOs } from '../../src/linux/linux-os.js';
import { REQUEST } from '../../src/transports/vhost-user/messages.js';
import { RawFrontend } from '../../src/transports/vhost-user/testing/raw-frontend.js';
import { openDriver } from '../../src/virtio/driver.js';
import { Lingering, wrapped } from '../peers/lingering.js';
import { MAIN, start } from '../virtio-misc.js';
import { children, ends, folder, listened, requests, serving, socket, until } from './servers.js';

test('a fatal signal is what it ends of, and its socket is removed first', async () => {
  const signals = ['SIGHUP', 'SIGQUIT', 'SIGABRT', 'SIGUSR2', 'SIGALRM'] as const;
  const ends = signals.map(async (signal) => {
    const path = join(folder, signal);
    // To a keeper SIGUSR2 is no such signal: it upgrades.
    const alone = signal === 'SIGUSR2' ? ['--no-keeper'] : [];
    const child = start(['serve', 'test', '--vhost-user', path, '--log', 'json', ...alone]);
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

/** Starts `serve test` with so many descriptors at most; what it says is kept. */
function limited(limit: number, ...args: string[]): { child: ChildProcess; said: () => string } {
  const child = spawn(
    'sh',
    [
      '-c',
      `ulimit -n ${limit}; exec "$0" "$@"`,
      process.execPath,
      MAIN,
      'serve',
      'test',
      '--vhost-user',
      socket,
      ...args,
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  children.push(child);
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  return { child, said: () => said };
}

for (const limit of [48, 127]) {
  test(`${limit} descriptors: one line that says what to do`, async () => {
    const { child, said } = limited(limit);
    assert.deepEqual(await once(child, 'close'), [1, null]);
    assert.equal(
      said(),
      `virtio-misc: this process may have only ${limit} files open at a time: allow it 128 or more (ulimit -n 128)\n`,
    );
  });
}

test('enough descriptors, most of which are open from the start: one line says what to do', async () => {
  const hoard = 'ulimit -n 128; for fd in {10..89}; do eval "exec $fd</dev/null"; done; exec "$0" "$@"';
  const child = spawn(
    'bash',
    ['-c', hoard, process.execPath, MAIN, 'serve', 'test', '--vhost-user', socket],
    {
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  );
  children.push(child);
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const closed = once(child, 'close');
  assert.deepEqual(await closed, [1, null]);
  assert.match(said, /^virtio-misc: this process may have only 128 files open .* \(ulimit -n 256\)\n$/);
});

for (const how of ['--keeper', '--no-keeper']) {
  test(`128 descriptors, of which a peer uses up all: one line, and all is well when it lets go (${how})`, async () => {
    const began = performance.now();
    const vfioUser = join(folder, 'vfio-user.sock');
    const { child, said } = limited(128, '--vfio-user', vfioUser, '--log', 'json', how);
    await until(() => listened() || child.exitCode !== null);
    await requests(32);
    const os = new LinuxOs();
    // Keeps the place until we have closed our descriptors: the last one that has them must be the server.
    const first = new RawFrontend(os.connect(socket), os);
    first.send(REQUEST.GET_FEATURES);
    await first.reply(REQUEST.GET_FEATURES);
    const attacker = new RawFrontend(os.connect(socket), os);
    const sendKick = (fd: number): void =>
      attacker.send(REQUEST.SET_VRING_KICK, new Uint8Array(8), { fds: [fd], needReply: true });
    // Two that keep the threads that close, and behind them as many as there may be. Of a keeper and its worker either may close one last.
    const kept = how === '--keeper';
    const lingering = await Promise.all(Array.from({ length: kept ? 3 : 2 }, () => Lingering.open()));
    for (const { fd } of lingering) {
      const outer = wrapped(os, fd);
      closeFd(fd);
      sendKick(outer.fd);
      closeFd(outer.fd);
      outer.channel.close();
    }
    first.close();
    for (const _ of lingering) await attacker.reply(REQUEST.SET_VRING_KICK);
    await assert.rejects(async () => {
      for (let i = 0; i < 128; i++) {
        sendKick(0);
        await attacker.reply(REQUEST.SET_VRING_KICK);
      }
    }, /hung up/);
    // Takes what the attacker's connection had.
    const last = new RawFrontend(os.connect(socket), os);
    last.send(REQUEST.GET_FEATURES);
    // A keeper that has no worker ready can't start one before there are descriptors again.
    if (!kept) await last.reply(REQUEST.GET_FEATURES);
    const waiting = connectVfioUser(vfioUser);
    if (!kept) await until(() => said().includes(': EMFILE'));
    for (const each of lingering) each.letGo();
    if (kept) await last.reply(REQUEST.GET_FEATURES);
    last.close();
    const driver = await openDriver(await waiting, { id: 45, features: 0n, queues: 1 });
    await driver.close();
    await requests(32);
    assert.deepEqual(await ends(child, 'SIGTERM'), [0, null]);
    os.close();
    const lines = said().split('\n');
    // At once, and at the end how often it was tried again; once a minute in between.
    const told = lines.filter((line) => line.includes("can't take a connection (accept4: EMFILE)")).length;
    assert.ok(told <= 3 + (performance.now() - began) / 60_000, said());
    assert.equal(
      lines.filter((line) => /dropped: can't receive the peer's descriptors/.test(line)).length,
      1,
    );
  });
}

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
