import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defineDevice } from '../../../virtio/define-device.js';
import { VIRTIO_F_EVENT_IDX, VIRTIO_F_INDIRECT_DESC, VIRTIO_F_VERSION_1 } from '../../../virtio/features.js';
import { le32, struct } from '../../../virtio/struct.js';
import type { FakeChannel } from '../../testing/fake-os.js';
import { Decoder, encodeMessage } from '../codec.js';
import {
  F_PROTOCOL_FEATURES,
  FLAGS,
  HEADER_SIZE,
  MAX_PAYLOAD_SIZE,
  PROTOCOL_F,
  REQUEST,
  VHOST_F_LOG_ALL,
} from '../messages.js';
import { encodeConfig, encodeRegion, encodeRegions, encodeU64, encodeVringState } from '../payloads.js';
import { Bench, GUEST_START, MEMORY_SIZE, USER_START } from '../testing/bench.js';
import { ProbeDevice } from '../testing/probe-device.js';

function bench(queues = 2): { bench: Bench; device: ProbeDevice } {
  const device = new ProbeDevice(queues);
  return { bench: new Bench(device), device };
}

/** Ends it, and finds everything given back. */
function finish(bench: Bench): void {
  bench.close();
  assert.equal(bench.os.openFds, 0);
  assert.equal(bench.os.openMappings, 0);
  assert.equal(bench.os.staleAccesses, 0);
  assert.equal(bench.clock.open, 0);
}

function config(offset: number, size: number, bytes: number[] | Uint8Array, flags = 0): Uint8Array {
  return encodeConfig({ offset, size, flags, bytes: Uint8Array.from(bytes) });
}

test('GET_FEATURES: the ring features, the device its own, and bits 26 and 30', () => {
  const { bench: b } = bench();
  b.say(REQUEST.GET_FEATURES);
  const ours = F_PROTOCOL_FEATURES | VHOST_F_LOG_ALL;
  const all = VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC | ours | 0b11n;
  assert.equal(b.frontend.takeU64(REQUEST.GET_FEATURES), all);
  finish(b);
});

test('GET_PROTOCOL_FEATURES: CONFIG is there only with a configuration space, and refused without', () => {
  for (const [fields, offered] of [
    [{ n: le32 }, PROTOCOL_F.CONFIG],
    [{}, 0n],
  ] as const) {
    const device = defineDevice({
      id: 63,
      name: 'd',
      config: { struct: struct(fields) },
      queues: [{ name: 'q' }],
    })();
    const b = new Bench(device);
    b.say(REQUEST.GET_PROTOCOL_FEATURES);
    assert.equal(b.frontend.takeU64(REQUEST.GET_PROTOCOL_FEATURES) & PROTOCOL_F.CONFIG, offered);
    b.say(REQUEST.SET_PROTOCOL_FEATURES, encodeU64(PROTOCOL_F.REPLY_ACK));
    const taken = b.ask(REQUEST.SET_PROTOCOL_FEATURES, encodeU64(PROTOCOL_F.REPLY_ACK | PROTOCOL_F.CONFIG));
    assert.equal(taken === 0n, offered !== 0n);
    finish(b);
  }
});

test('GET_FEATURES: bits that the messages have no room for are not offered', () => {
  const device = defineDevice({ id: 63, name: 'd', features: { LOW: 63, HIGH: 64, TOP: 127 }, queues: [] })();
  const b = new Bench(device);
  b.say(REQUEST.GET_FEATURES);
  assert.equal(b.frontend.takeU64(REQUEST.GET_FEATURES) >> 50n, 1n << 13n);
  finish(b);
});

test('GET_PROTOCOL_FEATURES: what is implemented, and neither in-band notifications nor any other bit', () => {
  const { bench: b } = bench();
  b.say(REQUEST.GET_PROTOCOL_FEATURES);
  const bits = [0, 1, 3, 5, 9, 10, 12, 13, 15, 16, 19, 20, 21, 23].reduce(
    (all, bit) => all | (1n << BigInt(bit)),
    0n,
  );
  assert.equal(b.frontend.takeU64(REQUEST.GET_PROTOCOL_FEATURES), bits);
  finish(b);
});

test('GET_QUEUE_NUM and GET_MAX_MEM_SLOTS', () => {
  const { bench: b } = bench(3);
  b.say(REQUEST.GET_QUEUE_NUM);
  assert.equal(b.frontend.takeU64(REQUEST.GET_QUEUE_NUM), 3n);
  b.say(REQUEST.GET_MAX_MEM_SLOTS);
  assert.equal(b.frontend.takeU64(REQUEST.GET_MAX_MEM_SLOTS), 509n);
  finish(b);
});

test('REPLY_ACK: 0 for what worked, something else for what did not, nothing unless wanted', () => {
  const { bench: b } = bench();
  assert.equal(b.ask(REQUEST.SET_OWNER), 0n);
  assert.equal(b.ask(REQUEST.SET_FEATURES, encodeU64(VIRTIO_F_VERSION_1)), 0n);
  assert.notEqual(b.ask(REQUEST.SET_FEATURES, encodeU64(1n << 34n)), 0n);
  assert.notEqual(b.ask(REQUEST.SET_PROTOCOL_FEATURES, encodeU64(1n << 14n)), 0n);
  assert.equal(b.ask(REQUEST.SET_PROTOCOL_FEATURES, encodeU64(PROTOCOL_F.MQ)), 0n);
  b.say(REQUEST.SET_OWNER);
  b.say(REQUEST.SET_FEATURES, encodeU64(1n << 34n));
  assert.equal(b.frontend.replies.length, 0);
  assert.equal(b.ended, undefined);
  finish(b);
});

test('REPLY_ACK: a message with an answer of its own gets no second one', () => {
  const { bench: b } = bench();
  b.say(REQUEST.GET_FEATURES, undefined, { needReply: true });
  b.say(REQUEST.GET_VRING_BASE, encodeVringState({ index: 0, num: 0 }), { needReply: true });
  b.say(REQUEST.GET_CONFIG, config(0, 4, new Uint8Array(4)), { needReply: true });
  assert.deepEqual(
    b.frontend.replies.map(({ request }) => request),
    [REQUEST.GET_FEATURES, REQUEST.GET_VRING_BASE, REQUEST.GET_CONFIG],
  );
  finish(b);
});

test('an unknown message is refused without harm, and one line says so', () => {
  const { bench: b } = bench();
  b.say(77, new Uint8Array(100), { fds: [b.memoryFd] });
  assert.equal(b.frontend.replies.length, 0);
  assert.notEqual(b.ask(REQUEST.NET_SET_MTU, encodeU64(1500n)), 0n);
  assert.deepEqual(b.warnings, [
    'probe: vhost-user: message 77 is refused: there is no such message',
    'probe: vhost-user: NET_SET_MTU is refused: it is for network cards; one here says its MTU in its configuration space, if it has one',
  ]);
  assert.equal(b.ask(REQUEST.SET_OWNER), 0n);
  finish(b);
});

test('a message that is not implemented but has an answer elsewhere gets one, so that nobody waits for ever', () => {
  const { bench: b } = bench();
  for (const request of [REQUEST.POSTCOPY_ADVISE, REQUEST.GET_VRING_BASE_SKIP_DRAIN]) {
    b.say(request, new Uint8Array(8));
    assert.notEqual(b.frontend.takeU64(request) & 0xffn, 0n);
  }
  finish(b);
});

test('GET_CONFIG: what is there, in a reply of the size of the request; nothing for what is not', () => {
  const { bench: b, device } = bench();
  for (let i = 0; i < 12; i++) device.config.view.setUint8(i, i);
  b.say(REQUEST.GET_CONFIG, config(0, 12, new Uint8Array(12)));
  assert.deepEqual(
    new Uint8Array(b.frontend.take(REQUEST.GET_CONFIG).buffer),
    config(0, 12, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
  );
  // More room than is asked for.
  b.say(REQUEST.GET_CONFIG, config(4, 2, [9, 9, 9, 9]));
  assert.deepEqual(new Uint8Array(b.frontend.take(REQUEST.GET_CONFIG).buffer), config(4, 2, [4, 5, 0, 0]));
  for (const [offset, size, room] of [
    [0, 13, 13],
    [12, 1, 1],
    [0xffff_ffff, 4, 4],
    [0, 8, 4],
    [0, 0xffff_ffff, 256],
    [0, 256, 256],
  ] as const) {
    b.say(REQUEST.GET_CONFIG, config(offset, size, new Uint8Array(room)));
    assert.equal(b.frontend.take(REQUEST.GET_CONFIG).byteLength, 0);
  }
  assert.equal(b.warnings.length, 6);
  finish(b);
});

test('SET_CONFIG: the driver writes what it may, and the device hears of it', () => {
  const { bench: b, device } = bench();
  // As QEMU does: the whole space for every write of the guest.
  assert.equal(b.ask(REQUEST.SET_CONFIG, config(0, 12, new Uint8Array(12).fill(7))), 0n);
  assert.deepEqual([...device.config.read(0, 12)], [0, 0, 0, 0, 7, 7, 7, 7, 0, 0, 0, 0]);
  assert.deepEqual(device.calls, ['config 0+12']);
  for (const payload of [
    config(0, 13, new Uint8Array(13)),
    config(11, 2, [1, 2]),
    config(4, 4, [1, 2]),
    config(4, 0xffff_ffff, [1, 2]),
    config(0xffff_ffff, 2, [1, 2]),
    config(4, 1, [1], 2),
  ]) {
    assert.notEqual(b.ask(REQUEST.SET_CONFIG, payload), 0n);
  }
  assert.deepEqual([...device.config.read(4, 4)], [7, 7, 7, 7]);
  assert.deepEqual(device.calls, ['config 0+12']);
  assert.equal(b.ended, undefined);
  finish(b);
});

test('a malformed message ends the connection, one line says why, and everything is given back', () => {
  const raw = (request: number, flags: number, size: number, payload = 0): Uint8Array => {
    const bytes = new Uint8Array(HEADER_SIZE + payload);
    new Uint32Array(bytes.buffer, 0, 3).set([request, flags, size]);
    return bytes;
  };
  for (const [bytes, reason] of [
    [raw(1, 0, 0), 'GET_FEATURES: version 0 instead of 1'],
    [raw(2, 1, MAX_PAYLOAD_SIZE + 1), 'SET_FEATURES: 4097 bytes of payload, more than 4096'],
    [raw(2, 1, 4, 4), 'SET_FEATURES: 4 bytes of payload instead of 8'],
    [raw(1, 5, 0), 'GET_FEATURES: a reply, where a request belongs'],
    [raw(REQUEST.ADD_MEM_REG, 1, 40, 40), 'ADD_MEM_REG: 0 descriptors came instead of 1'],
    [raw(REQUEST.SET_VRING_KICK, 1, 8, 8), 'SET_VRING_KICK: 0 descriptors came instead of 1'],
    [raw(REQUEST.SET_BACKEND_REQ_FD, 1, 0), 'SET_BACKEND_REQ_FD: 0 descriptors came instead of 1'],
    [raw(REQUEST.SET_MEM_TABLE, 1, 7, 7), 'SET_MEM_TABLE: 7 bytes of payload instead of 8 to 4096'],
  ] as const) {
    const { bench: b, device } = bench();
    b.negotiate();
    const ring = b.ring(0);
    ring.start();
    ring.enable();
    b.frontend.channel.send(bytes);
    b.os.run();
    assert.deepEqual(b.warnings, [`probe: vhost-user: the connection ends: ${reason}`]);
    assert.equal(b.ended?.error?.message, reason);
    assert.equal(b.frontend.closed, true);
    assert.deepEqual(device.calls.slice(-2), ['reset', 'close']);
    finish(b);
  }
});

test('SET_MEM_TABLE: with too few, too many or 300 descriptors the connection ends, and all are closed', () => {
  for (const count of [0, 2, 60, 300]) {
    const { bench: b } = bench();
    const fds = Array.from({ length: count }, () => b.os.duplicate(b.memoryFd));
    b.say(REQUEST.SET_MEM_TABLE, b.memoryTable(), { fds });
    for (const fd of fds) b.os.closeFd(fd);
    assert.match(b.ended?.error?.message ?? '', /descriptors came instead of 1$/);
    finish(b);
  }
});

test('SET_MEM_TABLE: more regions than the message has room for end the connection', () => {
  const { bench: b } = bench();
  const payload = b.memoryTable();
  payload[0] = 2;
  b.say(REQUEST.SET_MEM_TABLE, payload, { fds: [b.memoryFd, b.memoryFd] });
  assert.match(b.ended?.error?.message ?? '', /SET_MEM_TABLE/);
  finish(b);
});

test('SET_MEM_TABLE: a table that can not be is refused, and the one before stays', () => {
  const { bench: b } = bench();
  b.negotiate();
  const region = { guestAddress: GUEST_START, size: 2 * MEMORY_SIZE, userAddress: USER_START, mmapOffset: 0 };
  assert.notEqual(b.ask(REQUEST.SET_MEM_TABLE, encodeRegions([region]), [b.memoryFd]), 0n);
  assert.equal(b.os.openMappings, 2);
  const ring = b.ring(0);
  ring.start();
  ring.enable();
  ring.request(5);
  assert.deepEqual(ring.answers(), [5]);
  finish(b);
});

test('ADD_MEM_REG and REM_MEM_REG: memory comes and goes while a ring runs', () => {
  const { bench: b } = bench();
  b.say(REQUEST.SET_FEATURES, encodeU64(F_PROTOCOL_FEATURES));
  const region = { guestAddress: GUEST_START, size: MEMORY_SIZE, userAddress: USER_START, mmapOffset: 0 };
  assert.equal(b.ask(REQUEST.ADD_MEM_REG, encodeRegion(region), [b.memoryFd]), 0n);
  assert.notEqual(b.ask(REQUEST.ADD_MEM_REG, encodeRegion(region), [b.memoryFd]), 0n);
  const ring = b.ring(0);
  ring.start();
  ring.enable();
  const { fd, mapping } = b.os.createMemory('more', 4096);
  const more = { guestAddress: (GUEST_START + MEMORY_SIZE) as typeof GUEST_START, size: 4096 };
  const added = { ...more, userAddress: 0 as typeof USER_START, mmapOffset: 0 };
  assert.equal(b.ask(REQUEST.ADD_MEM_REG, encodeRegion(added), [fd]), 0n);
  ring.request(1);
  // A descriptor that comes along is closed.
  assert.equal(b.ask(REQUEST.REM_MEM_REG, encodeRegion(added), [fd]), 0n);
  assert.notEqual(b.ask(REQUEST.REM_MEM_REG, encodeRegion(added)), 0n);
  ring.request(2);
  assert.deepEqual(ring.answers(), [1, 2]);
  b.os.closeFd(fd);
  mapping.release();
  finish(b);
});

test('SET_STATUS: kept, and 0 is a reset; FEATURES_OK stays off when the features are not', () => {
  const { bench: b, device } = bench();
  const status = (): bigint => {
    b.say(REQUEST.GET_STATUS);
    return b.frontend.takeU64(REQUEST.GET_STATUS);
  };
  b.negotiate();
  b.say(REQUEST.SET_STATUS, encodeU64(0xbn));
  assert.equal(status(), 0xbn);
  const ring = b.ring(0);
  ring.start();
  ring.enable();
  b.say(REQUEST.SET_STATUS, encodeU64(0xfn));
  assert.deepEqual(device.calls, ['activate 0']);
  b.say(REQUEST.SET_STATUS, encodeU64(0n));
  assert.deepEqual(device.calls, ['activate 0', 'reset']);
  assert.equal(status(), 0n);
  b.say(REQUEST.SET_FEATURES, encodeU64(F_PROTOCOL_FEATURES | (1n << 34n)));
  b.say(REQUEST.SET_STATUS, encodeU64(0xbn));
  assert.equal(status(), 3n);
  finish(b);
});

test("QEMU's generic device: FEATURES_OK is all of the status it sets, and the device runs", () => {
  const { bench: b } = bench();
  b.negotiate();
  b.say(REQUEST.SET_STATUS, encodeU64(8n));
  const ring = b.ring(0);
  ring.start();
  ring.enable();
  ring.request(9);
  assert.deepEqual(ring.answers(), [9]);
  finish(b);
});

test('a front-end that trickles its bytes one by one is understood, descriptors too', () => {
  const { bench: b } = bench();
  b.os.readSize = 1;
  b.negotiate();
  const ring = b.ring(0);
  ring.start();
  ring.enable();
  ring.request(3);
  assert.deepEqual(ring.answers(), [3]);
  assert.deepEqual(b.warnings, []);
  finish(b);
});

test('a front-end that sends everything at once is understood', () => {
  const { bench: b } = bench();
  b.frontend.send(REQUEST.GET_FEATURES);
  b.frontend.send(REQUEST.SET_FEATURES, encodeU64(F_PROTOCOL_FEATURES));
  b.frontend.send(REQUEST.SET_MEM_TABLE, b.memoryTable(), { fds: [b.memoryFd], needReply: true });
  b.frontend.send(REQUEST.GET_QUEUE_NUM);
  b.os.run();
  assert.deepEqual(
    b.frontend.replies.map(({ request }) => request),
    [REQUEST.GET_FEATURES, REQUEST.SET_MEM_TABLE, REQUEST.GET_QUEUE_NUM],
  );
  finish(b);
});

test('a front-end that is gone takes its device with it', () => {
  const { bench: b, device } = bench();
  b.negotiate();
  const ring = b.ring(0);
  ring.start();
  ring.enable();
  b.frontend.close();
  b.os.run();
  assert.deepEqual(b.ended, { error: undefined });
  assert.deepEqual(device.calls, ['activate 0', 'reset', 'close']);
  assert.deepEqual(b.warnings, []);
  finish(b);
});

test('close ends the session, once, and is no end of its own', () => {
  const { bench: b, device } = bench();
  b.negotiate();
  b.session.close();
  b.session.close();
  b.os.run();
  assert.equal(b.frontend.closed, true);
  assert.equal(b.ended, undefined);
  assert.deepEqual(device.calls, ['close']);
  finish(b);
});

test('a front-end that does wrong again and again is warned of each time, and served on', () => {
  const { bench: b } = bench();
  for (let i = 0; i < 1000; i++) b.frontend.send(1000 + i);
  b.os.run();
  assert.equal(b.warnings.length, 1000);
  assert.equal(b.ask(REQUEST.SET_OWNER), 0n);
  finish(b);
});

/** A bench with a channel for the back-end's own requests, and what came on it. */
function withBackendChannel(protocolFeatures: bigint): {
  bench: Bench;
  device: ProbeDevice;
  channel: FakeChannel;
  heard: number[][];
} {
  const { bench: b, device } = bench();
  b.say(REQUEST.SET_PROTOCOL_FEATURES, encodeU64(protocolFeatures));
  const { channel, fd } = b.os.createChannel();
  assert.equal(b.ask(REQUEST.SET_BACKEND_REQ_FD, undefined, [fd]), 0n);
  b.os.closeFd(fd);
  const heard: number[][] = [];
  const decoder = new Decoder();
  channel.receive({
    received: (bytes, fds) => {
      decoder.push(bytes, fds);
      for (let m = decoder.next(); m !== undefined; m = decoder.next()) heard.push([m.request, m.flags]);
    },
    closed: () => heard.push([]),
  });
  b.negotiate();
  return { bench: b, device, channel, heard };
}

test('BACKEND_CONFIG_CHANGE_MSG: sent when the device says so, never while all rings are stopped', () => {
  const { bench: b, device, channel, heard } = withBackendChannel(PROTOCOL_F.BACKEND_REQ | PROTOCOL_F.CONFIG);
  const ring = b.ring(0);
  ring.start();
  ring.enable();
  device.host!.configChanged();
  b.os.run();
  assert.deepEqual(heard, [[2, FLAGS.VERSION]]);
  // Disabled, then stopped: it waits in both, and comes when a ring is served again.
  ring.enable(false);
  device.host!.configChanged();
  b.os.run();
  assert.equal(heard.length, 1);
  ring.stop();
  device.host!.configChanged();
  b.os.run();
  assert.equal(heard.length, 1);
  ring.start({ base: ring.takeBase() });
  ring.enable();
  b.os.run();
  assert.equal(heard.length, 2);
  channel.close();
  finish(b);
});

test('BACKEND_CONFIG_CHANGE_MSG: with REPLY_ACK, one at a time, and none is lost', () => {
  const features = PROTOCOL_F.BACKEND_REQ | PROTOCOL_F.CONFIG | PROTOCOL_F.REPLY_ACK;
  const { bench: b, device, channel, heard } = withBackendChannel(features);
  const ring = b.ring(0);
  ring.start();
  ring.enable();
  for (let i = 0; i < 1000; i++) device.host!.configChanged();
  b.os.run();
  assert.deepEqual(heard, [[2, FLAGS.VERSION | FLAGS.NEED_REPLY]]);
  // A refusal is an answer too.
  channel.send(encodeMessage(2, FLAGS.REPLY, encodeU64(1n)));
  b.os.run();
  assert.equal(heard.length, 2);
  channel.send(encodeMessage(2, FLAGS.REPLY, encodeU64(0n)));
  b.os.run();
  assert.equal(heard.length, 2);
  device.host!.configChanged();
  b.os.run();
  assert.equal(heard.length, 3);
  channel.close();
  finish(b);
});

test('SET_BACKEND_REQ_FD: nonsense on it closes it, a second one replaces it, no socket is refused', () => {
  const { bench: b, device, channel, heard } = withBackendChannel(PROTOCOL_F.BACKEND_REQ);
  channel.send(new Uint8Array(12), [b.memoryFd]);
  b.os.run();
  assert.deepEqual(heard, [[]]);
  channel.close();
  const ring = b.ring(0);
  ring.start();
  ring.enable();
  device.host!.configChanged();
  const other = b.os.createOther();
  assert.notEqual(b.ask(REQUEST.SET_BACKEND_REQ_FD, undefined, [other]), 0n);
  b.os.closeFd(other);
  const [ours, theirs] = b.os.socketPair();
  assert.equal(b.ask(REQUEST.SET_BACKEND_REQ_FD, undefined, [theirs]), 0n);
  assert.equal(b.ask(REQUEST.SET_BACKEND_REQ_FD, undefined, [theirs]), 0n);
  b.os.closeFd(theirs);
  b.os.closeFd(ours);
  assert.equal(b.ended, undefined);
  ring.request(1);
  assert.deepEqual(ring.answers(), [1]);
  finish(b);
});
