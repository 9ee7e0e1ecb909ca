import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { closeFd } from '../../src/linux/close-fd.js';
import { LinuxOs } from '../../src/linux/linux-os.js';
import { sendDescriptors } from '../../src/linux/testing/send-descriptors.js';
import { connectSocket } from '../../src/linux/unix-socket.js';
import type { Channel } from '../../src/transports/ports.js';
import { REQUEST } from '../../src/transports/vhost-user/messages.js';
import { encodeU64 } from '../../src/transports/vhost-user/payloads.js';
import { RawFrontend } from '../../src/transports/vhost-user/testing/raw-frontend.js';
import { MAIN } from '../virtio-misc.js';
import { Lingering, wrapped } from './lingering.js';
import { Served } from './served.js';

async function refused(attacker: RawFrontend, fd: number): Promise<void> {
  attacker.send(REQUEST.SET_VRING_KICK, encodeU64(0n), { fds: [fd], needReply: true });
  // The last one that has it is the back-end.
  closeFd(fd);
  assert.notEqual((await attacker.reply(REQUEST.SET_VRING_KICK)).getBigUint64(0, true), 0n);
}

test('sockets that close for an hour as kicks: they are refused, closed all the same, and others are served', async () => {
  const served = await Served.start();
  // More than there are threads for it.
  const lingering = [await Lingering.open(), await Lingering.open(), await Lingering.open()];
  const before = served.descriptors();
  const attacker = served.attacker();
  for (const { fd } of lingering) await refused(attacker, fd);
  await served.roundTrip();
  attacker.close();
  await served.until(() => served.attacked.ends.length === 1);
  while (served.descriptors() > before - lingering.length) await served.roundTrip();
  for (const each of lingering) each.letGo();
  await served.flat();
  await served.close();
});

test('a socket that holds another, unread, which closes for an hour: it is refused, and others are served', async () => {
  const served = await Served.start();
  const lingering = await Lingering.open();
  const outer = wrapped(served.os, lingering.fd);
  closeFd(lingering.fd);
  const attacker = served.attacker();
  const answer = refused(attacker, outer.fd);
  outer.channel.close();
  await answer;
  await served.roundTrip();
  attacker.close();
  await served.until(() => served.attacked.ends.length === 1);
  lingering.letGo();
  await served.flat();
  await served.close();
});

test('a socket that closes for an hour behind what ends the connection: others are served', async () => {
  const served = await Served.start();
  const lingering = await Lingering.open();
  const attacker = served.attacker();
  // No message of any version. A read ends behind the first descriptor; what follows is never read.
  attacker.channel.send(new Uint8Array(12).fill(0xff), [0]);
  attacker.channel.send(Uint8Array.of(0), [lingering.fd]);
  closeFd(lingering.fd);
  await served.until(() => served.attacked.ends.length === 1);
  for (let i = 0; i < 10; i++) await served.roundTrip();
  attacker.close();
  lingering.letGo();
  await served.flat();
  await served.close();
});

test('a socket that closes for an hour as the last of 200 descriptors: others are served', async () => {
  const served = await Served.start();
  const lingering = await Lingering.open();
  const fd = connectSocket(served.attacked.vhostUser);
  sendDescriptors(fd, [...new Array<number>(199).fill(0), lingering.fd]);
  closeFd(lingering.fd);
  await served.until(() => served.attacked.ends.length === 1);
  assert.match(String(served.attacked.ends[0]), /more than 64 in one message/);
  for (let i = 0; i < 10; i++) await served.roundTrip();
  closeFd(fd);
  lingering.letGo();
  await served.flat();
  await served.close();
});

test('a server told to stop while a descriptor of a peer closes for an hour stops', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  const socket = join(folder, 'device.sock');
  const child = spawn(process.execPath, [MAIN, 'serve', 'test', '--vhost-user', socket], { stdio: 'ignore' });
  const exit = once(child, 'exit');
  const os = new LinuxOs();
  const lingering = await Lingering.open();
  const outer = wrapped(os, lingering.fd);
  closeFd(lingering.fd);
  // Keeps the place until we have closed our descriptors: the last one that has them must be the server.
  const first = new RawFrontend(await connected(os, socket), os);
  first.send(REQUEST.GET_FEATURES);
  await first.reply(REQUEST.GET_FEATURES);
  const attacker = new RawFrontend(os.connect(socket), os);
  const answer = refused(attacker, outer.fd);
  outer.channel.close();
  first.close();
  await answer;
  child.kill('SIGTERM');
  assert.deepEqual(await exit, [0, null]);
  assert.equal(existsSync(socket), false);
  attacker.close();
  lingering.letGo();
  os.close();
  rmSync(folder, { recursive: true });
});

/** Connects as soon as somebody listens. */
async function connected(os: LinuxOs, path: string): Promise<Channel> {
  for (;;) {
    try {
      return os.connect(path);
    } catch {
      await new Promise(setImmediate);
    }
  }
}
