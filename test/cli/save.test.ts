import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { connectVfioUser, connectVhostUser } from '../../src/connect.js';
import { MiscDriver } from '../../src/devices/misc/driver.js';
import { TestDriver } from '../../src/devices/test/driver.js';
import { MAIN, virtioMisc } from '../virtio-misc.js';
import { children, ends, folder, serving, socket, until } from './servers.js';

const HOUR = 3_600_000;
const file = (): string => join(folder, 'state');

/** What the program says when it is asked something that can't be. */
async function refusal(...args: string[]): Promise<string> {
  const { code, lines, stderr } = await virtioMisc(...args);
  assert.deepEqual([code, lines], [1, []], stderr);
  assert.match(stderr, /^virtio-misc: .*\n$/, 'one line');
  return stderr;
}

test('save and serve --restore: timers go on where they stood, in another process, by what is left of their time', async () => {
  const first = await serving(['misc', '--quiet']);
  const transport = await connectVhostUser(socket, { reconnect: true });
  const driver = await MiscDriver.open(transport);
  assert.match(await refusal('save', socket, file()), /the guest runs: stop it first \(QEMU: 'stop'\)/);
  const fired: number[] = [];
  const delays = [1000, 1100, 2000];
  const set = performance.now();
  for (const delay of delays) await driver.setTimer(delay, () => fired.push(delay), undefined);
  await driver.setTimer(HOUR, () => assert.fail('in an hour'), undefined);
  await transport.pause();
  const ran = performance.now() - set;
  const { code, lines, stderr } = await virtioMisc('save', socket, file());
  assert.deepEqual([code, stderr], [0, '']);
  assert.match(lines.join(), /^saved: \d+ bytes$/);
  assert.equal(statSync(file()).mode & 0o777, 0o600);
  await ends(first, 'SIGKILL');

  await serving(['misc', '--quiet', '--restore', file()]);
  const resumed = performance.now();
  await transport.resume();
  await until(() => fired.length === delays.length);
  assert.deepEqual(fired, delays, 'each once, in order');
  assert.ok(performance.now() - resumed >= 2000 - ran, 'none early');
  await driver.close();

  // It is for the first that a driver starts, and no later one.
  const next = await MiscDriver.open(await connectVhostUser(socket));
  const timer = await next.setTimer(HOUR, () => {}, undefined);
  assert.equal(timer.id, 1);
  await next.close();
});

test('save by the number of the process, by another path of the socket, and of a device that no driver has started', async () => {
  const server = await serving(['misc', '--quiet']);
  assert.match(await refusal('save', socket, file()), /no front-end is at .*device\.sock/);
  const transport = await connectVhostUser(socket);
  const link = join(folder, 'link');
  symlinkSync(socket, link);
  for (const where of [link, String(server.pid)]) {
    const { code, stderr } = await virtioMisc('save', where, file());
    assert.deepEqual([code, stderr], [0, '']);
  }
  transport.close();
});

test('save over vfio-user, whose clients do not say when a guest stands still', async () => {
  const path = join(folder, 'vfio.sock');
  const child = spawn(process.execPath, [MAIN, 'serve', 'misc', '--quiet', '--vfio-user', path], {
    stdio: 'ignore',
  });
  children.push(child);
  const transport = await connected(path, child);
  const driver = await MiscDriver.open(transport);
  const fired: number[] = [];
  await driver.setTimer(HOUR, () => {}, undefined);
  await driver.setTimer(1000, () => fired.push(1), undefined);
  assert.match(await refusal('save', path, file()), /a vfio-user client .*so \(--stopped\)$/m);
  const { code, stderr } = await virtioMisc('save', path, file(), '--stopped');
  assert.deepEqual([code, stderr], [0, '']);
  // The device goes on.
  await until(() => fired.length === 1);
  await driver.close();
});

async function connected(path: string, child: ChildProcess): ReturnType<typeof connectVfioUser> {
  for (;;) {
    try {
      return await connectVfioUser(path);
    } catch (error) {
      assert.equal(child.exitCode, null, String(error));
      await new Promise((done) => setTimeout(done, 10));
    }
  }
}

test('what can not be saved, or gone on from, is said in one line', async () => {
  await serving(['test', '--quiet']);
  const driver = await TestDriver.open(await connectVhostUser(socket));
  assert.match(await refusal('save', socket, file()), /virtio-test has no `save`, and so no state/);
  assert.match(
    await refusal('save', join(folder, 'none'), file()),
    /there is no socket .*none: name one that/,
  );
  writeFileSync(join(folder, 'plain'), '');
  for (const nobody of [join(folder, 'plain'), String(process.pid)])
    assert.match(await refusal('save', nobody, file()), /no 'virtio-misc serve' can be asked there/);
  await driver.close();
});

test('a state that is damaged, of another version or of another device: serve says so, and does not begin', async () => {
  await serving(['misc', '--quiet']);
  const transport = await connectVhostUser(socket);
  assert.equal((await virtioMisc('save', socket, file())).code, 0);
  transport.close();
  const good = readFileSync(file());
  const changed = (at: number): Uint8Array => {
    const bytes = Uint8Array.from(good);
    bytes[at]! ^= 1;
    return bytes;
  };
  const bad: readonly (readonly [Uint8Array, device: string, RegExp])[] = [
    [changed(good.length - 1), 'misc', /the state is damaged/],
    [changed(0), 'misc', /the state is none of virtio-misc/],
    [changed(4), 'misc', /the state is of version 0, this is 1/],
    [good.subarray(0, -1), 'misc', /the state has \d+ bytes of \d+/],
    [good, 'test', /the state is of virtio-misc \(id 70\), this is id 45/],
  ];
  for (const [bytes, device, says] of bad) {
    writeFileSync(file(), bytes);
    const line = await refusal('serve', device, '--vhost-user', join(folder, 'x'), '--restore', file());
    assert.match(line, says);
    assert.match(line, /--restore .*state: .*; without --restore the device begins afresh$/m);
  }
  const none = join(folder, 'none');
  assert.match(
    await refusal('serve', 'misc', '--vhost-user', join(folder, 'x'), '--restore', none),
    /no such file/,
  );
});
