import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, test } from 'node:test';
import { start, virtioMisc } from '../virtio-misc.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
});
const children: ReturnType<typeof start>[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

/** Starts `serve` and waits until it serves. */
async function serving(...args: string[]): Promise<ReturnType<typeof start>> {
  const child = start(['serve', ...args, '--log', 'json']);
  children.push(child);
  for await (const line of createInterface({ input: child.stderr! })) if (line.includes('serving')) break;
  child.stderr!.resume();
  return child;
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test(`${signal} ends it with exit code 0 and removes the sockets`, async () => {
    const sockets = [join(folder, 'a.sock'), join(folder, 'b.sock')] as const;
    const child = await serving('misc', '--vhost-user', sockets[0], '--vfio-user', sockets[1]);
    assert.deepEqual(sockets.map(existsSync), [true, true]);
    child.kill(signal);
    assert.deepEqual(await once(child, 'exit'), [0, null]);
    assert.deepEqual(sockets.map(existsSync), [false, false]);
  });
}

test('a socket that a dead server left is taken over', async () => {
  const socket = join(folder, 'test.sock');
  const dead = await serving('test', '--vhost-user', socket);
  dead.kill('SIGKILL');
  await once(dead, 'exit');
  assert.equal(existsSync(socket), true);
  const next = await serving('test', '--vhost-user', socket);
  next.kill('SIGTERM');
  assert.deepEqual(await once(next, 'exit'), [0, null]);
});

test('a socket that a live server has is refused, and left alone', async () => {
  const socket = join(folder, 'test.sock');
  const live = await serving('test', '--vhost-user', socket);
  const { code, stderr } = await virtioMisc('serve', 'test', '--vfio-user', socket);
  assert.equal(code, 1);
  assert.match(stderr, /^virtio-misc: .*another process has its socket there/);
  assert.equal(stderr.trim().split('\n').length, 1);
  assert.equal(existsSync(socket), true);
  live.kill('SIGTERM');
  assert.deepEqual(await once(live, 'exit'), [0, null]);
});

test('a file that is no socket is not removed', async () => {
  const file = join(folder, 'precious');
  writeFileSync(file, '');
  const { code, stderr } = await virtioMisc('serve', 'test', '--vhost-user', file);
  assert.equal(code, 1);
  assert.match(stderr, /the file there is no socket/);
  assert.equal(existsSync(file), true);
});
