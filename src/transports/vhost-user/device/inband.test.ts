import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeMessage } from '../codec.js';
import { BACKEND_REQUEST, FLAGS, PROTOCOL_F, REQUEST, VRING_FD } from '../messages.js';
import { encodeU64, encodeVringState } from '../payloads.js';
import { Bench, type BenchRing } from '../testing/bench.js';
import { ProbeDevice } from '../testing/probe-device.js';
import { RawFrontend } from '../testing/raw-frontend.js';

const { INBAND_NOTIFICATIONS, BACKEND_REQ, REPLY_ACK } = PROTOCOL_F;
const state = (index: number, num = 0): Uint8Array => encodeVringState({ index, num });

interface Inband {
  readonly b: Bench;
  readonly device: ProbeDevice;
  /** What the back-end asks. */
  readonly channel: RawFrontend;
}

function inband(): Inband {
  const device = new ProbeDevice(2);
  const b = new Bench(device, undefined, true);
  b.negotiate();
  b.say(REQUEST.SET_PROTOCOL_FEATURES, encodeU64(INBAND_NOTIFICATIONS | BACKEND_REQ | REPLY_ACK));
  const { channel, fd } = b.os.createChannel();
  b.say(REQUEST.SET_BACKEND_REQ_FD, undefined, { fds: [fd] });
  b.os.closeFd(fd);
  return { b, device, channel: new RawFrontend(channel, b.os) };
}

/** All of a ring but its events. */
function setUp(b: Bench, ring: BenchRing): void {
  b.say(REQUEST.SET_VRING_NUM, state(ring.index, ring.queue.size));
  b.say(REQUEST.SET_VRING_BASE, state(ring.index));
  b.say(REQUEST.SET_VRING_ADDR, ring.addresses);
  b.say(REQUEST.SET_VRING_ENABLE, state(ring.index, 1));
}

/** The messages that came, as [request, ring, num], each answered. */
function told({ b, channel }: Inband): number[][] {
  const all: number[][] = [];
  for (let message = channel.replies.shift(); message !== undefined; message = channel.replies.shift()) {
    const { request, flags, payload } = message;
    assert.equal(flags, FLAGS.VERSION | FLAGS.NEED_REPLY);
    all.push([request, payload.getUint32(0, true), payload.getUint32(4, true)]);
    channel.channel.send(encodeMessage(request, FLAGS.REPLY, encodeU64(0n)));
    b.os.run();
  }
  return all;
}

function finish({ b, channel }: Inband): void {
  channel.close();
  b.close();
  assert.equal(b.os.openFds, 0);
  assert.equal(b.clock.open, 0);
}

test('INBAND_NOTIFICATIONS: offered only when told, refused else; VRING_KICK without it is refused', () => {
  for (const offered of [true, false]) {
    const b = new Bench(new ProbeDevice(), undefined, offered);
    b.say(REQUEST.GET_PROTOCOL_FEATURES);
    const bits = b.frontend.takeU64(REQUEST.GET_PROTOCOL_FEATURES);
    assert.equal((bits & INBAND_NOTIFICATIONS) !== 0n, offered);
    const answer = b.ask(
      REQUEST.SET_PROTOCOL_FEATURES,
      encodeU64(INBAND_NOTIFICATIONS | BACKEND_REQ | REPLY_ACK),
    );
    assert.equal(answer === 0n, offered);
    b.say(REQUEST.SET_PROTOCOL_FEATURES, encodeU64(REPLY_ACK));
    b.warnings.length = 0;
    assert.notEqual(b.ask(REQUEST.VRING_KICK, state(0)), 0n);
    assert.match(b.warnings[0]!, /VRING_KICK is refused: INBAND_NOTIFICATIONS was not negotiated/);
    b.close();
  }
});

test('INBAND_NOTIFICATIONS without BACKEND_REQ or REPLY_ACK ends the connection', () => {
  for (const bits of [0n, BACKEND_REQ, REPLY_ACK]) {
    const b = new Bench(new ProbeDevice(), undefined, true);
    b.say(REQUEST.SET_PROTOCOL_FEATURES, encodeU64(INBAND_NOTIFICATIONS | bits));
    assert.match(String(b.ended?.error), /INBAND_NOTIFICATIONS takes BACKEND_REQ and REPLY_ACK/);
    assert.equal(b.frontend.closed, true);
    b.close();
    assert.equal(b.os.openFds, 0);
  }
});

test('VRING_KICK starts a ring, and kicks it then; nothing is polled', () => {
  const i = inband();
  const { b, device } = i;
  const ring = b.ring(0);
  setUp(b, ring);
  ring.request(1, false);
  assert.deepEqual(ring.answers(), []);
  assert.equal(b.ask(REQUEST.VRING_KICK, state(0)), 0n);
  assert.deepEqual(device.calls, ['activate 0']);
  assert.deepEqual(ring.answers(), [1]);
  ring.request(2, false);
  b.clock.advance(1e9);
  b.os.run();
  assert.deepEqual(ring.answers(), []);
  assert.equal(b.ask(REQUEST.VRING_KICK, state(0)), 0n);
  assert.deepEqual(ring.answers(), [2]);
  ring.stop();
  assert.equal(ring.takeBase(), 2);
  ring.request(3, false);
  assert.equal(b.ask(REQUEST.VRING_KICK, state(0)), 0n);
  assert.deepEqual(ring.answers(), [3]);
  assert.notEqual(b.ask(REQUEST.VRING_KICK, state(7)), 0n);
  told(i);
  finish(i);
});

test('VRING_CALL and VRING_ERR: sent for a ring without events, one at a time, what is said twice once, and 0 in num', () => {
  const i = inband();
  const { b, channel } = i;
  const rings = [b.ring(0), b.ring(1)] as const;
  for (const ring of rings) {
    setUp(b, ring);
    b.say(REQUEST.VRING_KICK, state(ring.index));
  }
  for (let n = 0; n < 3; n++) {
    for (const ring of rings) {
      ring.request(n, false);
      b.say(REQUEST.VRING_KICK, state(ring.index));
    }
  }
  assert.equal(channel.replies.length, 1, 'one waits for its answer');
  assert.deepEqual(told(i), [
    [BACKEND_REQUEST.VRING_CALL, 0, 0],
    [BACKEND_REQUEST.VRING_CALL, 1, 0],
    [BACKEND_REQUEST.VRING_CALL, 0, 0],
  ]);
  b.memory.write(rings[1].queue.driverArea, Uint8Array.of(0, 0, 0xff, 0x7f));
  b.say(REQUEST.VRING_KICK, state(1));
  assert.deepEqual(told(i), [[BACKEND_REQUEST.VRING_ERR, 1, 0]]);
  assert.equal(b.warnings.length, 1);
  finish(i);
});

test('events are preferred to messages, and a ring that is said to need no call gets none', () => {
  const i = inband();
  const { b } = i;
  const ring = b.ring(0);
  setUp(b, ring);
  b.say(REQUEST.SET_VRING_CALL, encodeU64(0n), { fds: [ring.call.fd] });
  b.say(REQUEST.SET_VRING_KICK, encodeU64(0n), { fds: [ring.kick.fd] });
  ring.request(1);
  assert.deepEqual([ring.answers(), ring.call.signals, told(i)], [[1], 1, []]);
  b.say(REQUEST.SET_VRING_CALL, encodeU64(BigInt(VRING_FD.NOFD)));
  ring.request(2);
  assert.deepEqual([ring.answers(), ring.call.signals, told(i)], [[2], 1, []]);
  // It may be polled all the same.
  b.say(REQUEST.SET_VRING_KICK, encodeU64(BigInt(VRING_FD.NOFD)));
  ring.request(3, false);
  b.clock.advance(2e6);
  b.os.run();
  assert.deepEqual(ring.answers(), [3]);
  finish(i);
});

test('a reset drops what waits, and VRING_KICK of another size ends the connection', () => {
  const i = inband();
  const { b, channel } = i;
  const ring = b.ring(0);
  setUp(b, ring);
  for (const n of [1, 2]) {
    ring.request(n, false);
    b.say(REQUEST.VRING_KICK, state(0));
  }
  b.say(REQUEST.RESET_DEVICE);
  assert.equal(told(i).length, 1);
  assert.equal(channel.replies.length, 0);
  b.say(REQUEST.VRING_KICK, new Uint8Array(4));
  assert.match(String(b.ended?.error), /VRING_KICK: 4 bytes of payload instead of 8/);
  finish(i);
});
