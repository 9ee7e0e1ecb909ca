import assert from 'node:assert/strict';
import { test } from 'node:test';
import { closeFd } from '../../src/linux/close-fd.js';
import { fcntl } from '../../src/linux/libc.js';
import { connectSocket } from '../../src/linux/unix-socket.js';
import { REQUEST } from '../../src/transports/vhost-user/messages.js';
import { encodeU64 } from '../../src/transports/vhost-user/payloads.js';
import { RawFrontend } from '../../src/transports/vhost-user/testing/raw-frontend.js';
import { Served } from './served.js';

const F_DUPFD_CLOEXEC = 1030;

for (const [what, request, payload] of [
  ['kick', REQUEST.SET_VRING_KICK, encodeU64(0n)],
  ['call', REQUEST.SET_VRING_CALL, encodeU64(0n)],
  ['error', REQUEST.SET_VRING_ERR, encodeU64(0n)],
  ['backend channel', REQUEST.SET_BACKEND_REQ_FD, undefined],
] as const) {
  test(`a front-end whose ${what} is its own socket is refused, its end is seen, and the next one is served`, async () => {
    const served = await Served.start();
    const fd = connectSocket(served.attacked.vhostUser);
    const own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    const { channel } = { channel: served.os.adoptSocket(fd) };
    assert.ok('send' in channel);
    const attacker = new RawFrontend(channel, served.os);
    attacker.send(request, payload, { fds: [own], needReply: true });
    assert.notEqual((await attacker.reply(request)).getBigUint64(0, true), 0n);
    attacker.close();
    closeFd(own);
    await served.until(() => served.attacked.ends.length === 1);
    assert.deepEqual(served.attacked.ends, [undefined]);
    assert.equal(served.attacked.warnings.length, 1);
    await served.flat();
    const next = served.attacker();
    next.send(REQUEST.GET_FEATURES);
    await next.reply(REQUEST.GET_FEATURES);
    next.close();
    await served.close();
  });
}
