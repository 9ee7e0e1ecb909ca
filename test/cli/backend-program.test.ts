import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { connectVhostUser } from '../../src/connect.js';
import { TestDriver } from '../../src/devices/test/driver.js';
import { listen } from '../../src/linux/libc.js';
import { LinuxOs } from '../../src/linux/linux-os.js';
import { SocketFile } from '../../src/linux/socket-file.js';
import { openSocket, pairSockets, SOCK_STREAM } from '../../src/linux/unix-socket.js';
import { VhostUserFrontend } from '../../src/transports/vhost-user/driver/frontend.js';
import { MAIN, virtioMisc } from '../virtio-misc.js';

/** The entropy device, as a file. */
const EXAMPLE = fileURLToPath(new URL('../../../examples/rng.ts', import.meta.url));

// "Backend program conventions" of QEMU's docs/interop/vhost-user.rst.

let folder: string;
let socket: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  socket = join(folder, 'test.sock');
});
const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

/** Starts `serve test` with this as its descriptor 3. */
function serveOn(fd: number, ...args: string[]): ChildProcess {
  const child = spawn(process.execPath, [MAIN, 'serve', 'test', '--quiet', ...args], {
    stdio: ['ignore', 'ignore', 'pipe', fd],
  });
  children.push(child);
  return child;
}

/** A socket that listens at `socket`, as systemd makes one. */
function listeningSocket(): number {
  const fd = openSocket(SOCK_STREAM);
  SocketFile.bind(fd, socket);
  assert.equal(listen(fd, 5), 0);
  return fd;
}

test('--socket-path serves vhost-user there', async () => {
  const child = spawn(process.execPath, [MAIN, 'serve', 'test', '--quiet', '--socket-path', socket]);
  children.push(child);
  await once(child.stderr, 'data');
  const driver = await TestDriver.open(await connectVhostUser(socket));
  assert.deepEqual(await driver.write(10), { ret: 111, arg1: 112, arg2: 113 });
  await driver.close();
  child.kill('SIGTERM');
  assert.deepEqual(await once(child, 'exit'), [0, null]);
  assert.equal(existsSync(socket), false);
});

test('--fd with a socket that listens: front-ends come and go, SIGTERM ends it, the socket file stays', async () => {
  const fd = listeningSocket();
  const child = serveOn(fd, '--fd', '3');
  closeSync(fd);
  child.stderr!.resume();
  for (let i = 0; i < 2; i++) {
    // What connects before it serves waits in the backlog.
    const driver = await TestDriver.open(await connectVhostUser(socket));
    assert.deepEqual(await driver.write(10), { ret: 111, arg1: 112, arg2: 113 });
    await driver.close();
  }
  child.kill('SIGTERM');
  assert.deepEqual(await once(child, 'exit'), [0, null]);
  assert.equal(existsSync(socket), true);
});

test('--fd with a socket that is connected: it ends with the only front-end', async () => {
  const [ours, theirs] = pairSockets();
  const child = serveOn(theirs, '--fd', '3');
  closeSync(theirs);
  let log = '';
  child.stderr!.on('data', (text) => {
    log += text;
  });
  const os = new LinuxOs();
  const transport = new VhostUserFrontend(os.adoptChannel(ours), { os, clock: os.clock });
  const driver = await TestDriver.open(transport);
  assert.deepEqual(await driver.write(10), { ret: 111, arg1: 112, arg2: 113 });
  await driver.close();
  assert.deepEqual(await once(child, 'exit'), [0, null]);
  assert.match(log, /the only front-end left/);
  os.close();
});

test('--fd with anything else is refused in one line', async () => {
  const fd = openSync('/dev/null', 'r');
  const child = serveOn(fd, '--fd', '3');
  closeSync(fd);
  let said = '';
  child.stderr!.on('data', (text) => {
    said += text;
  });
  assert.deepEqual(await once(child, 'close'), [1, null]);
  assert.match(said, /^virtio-misc: .*descriptor 3 as a socket.*ENOTSOCK.*\n$/);

  const closed = await virtioMisc('serve', 'test', '--fd', '99');
  assert.equal(closed.code, 1);
  assert.match(closed.stderr, /^virtio-misc: .*descriptor 99.*EBADF.*\n$/);
});

for (const [args, says] of [
  ['--fd three', /write the number of an open descriptor/],
  ['--fd 3 --socket-path /tmp/x', /--vhost-user, --socket-path and --fd: take one of them/],
  ['--socket-path /tmp/x --vhost-user /tmp/x', /take one of them/],
] as const) {
  test(`serve test ${args} is refused`, async () => {
    const { code, stderr } = await virtioMisc('serve', 'test', ...args.split(' '));
    assert.equal(code, 1);
    assert.match(stderr, says);
  });
}

test('--print-capabilities prints one JSON object, whatever else is asked, and serves nothing', async () => {
  const { code, lines, stderr } = await virtioMisc('serve', 'test', '--print-capabilities', '--fd', '99');
  assert.deepEqual([code, stderr], [0, '']);
  assert.deepEqual(
    lines.map((line) => JSON.parse(line)),
    [{ type: 'test' }],
  );
  const rng = await virtioMisc('serve', EXAMPLE, '--print-capabilities');
  assert.deepEqual(JSON.parse(rng.lines.join('')), { type: 'rng' });
});
