import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VIRTIO_F_RING_PACKED } from '../../../virtio/features.js';
import { packedRegionSize } from '../../../virtqueue/packed/inflight-layout.js';
import { splitRegionSize } from '../../../virtqueue/split/inflight-layout.js';
import { F_PROTOCOL_FEATURES, PROTOCOL_F, REQUEST } from '../messages.js';
import { decodeInflight, encodeInflight, encodeU64, encodeVringState } from '../payloads.js';
import { Bench } from '../testing/bench.js';
import { ProbeDevice } from '../testing/probe-device.js';

const INFLIGHT = PROTOCOL_F.INFLIGHT_SHMFD;
const SKIP = PROTOCOL_F.GET_VRING_BASE_SKIP_DRAIN | PROTOCOL_F.GET_VRING_BASE_INFLIGHT | INFLIGHT;

function bench(
  features = F_PROTOCOL_FEATURES,
  protocolFeatures: bigint = SKIP,
): { b: Bench; device: ProbeDevice } {
  const device = new ProbeDevice(3);
  const b = new Bench(device, features & ~F_PROTOCOL_FEATURES);
  assert.equal(b.ask(REQUEST.SET_PROTOCOL_FEATURES, encodeU64(protocolFeatures)), 0n);
  b.negotiate(features);
  return { b, device };
}

/** Says and closes everything, and sees that nothing is left. */
function finish(b: Bench): void {
  b.close();
  b.session.close();
  b.os.run();
  assert.equal(b.os.openFds, 0);
  assert.equal(b.os.openMappings, 0);
  assert.equal(b.clock.open, 0);
}

/** GET_INFLIGHT_FD. */
function region(b: Bench, queues: number, queueSize: number, length?: number) {
  b.frontend.kept = [];
  b.say(REQUEST.GET_INFLIGHT_FD, encodeInflight({ mmapSize: 0, mmapOffset: 0, queues, queueSize }, length));
  const reply = b.frontend.take(REQUEST.GET_INFLIGHT_FD);
  const fds = b.frontend.kept;
  b.frontend.kept = undefined;
  return { description: decodeInflight(reply), length: reply.byteLength, fds };
}

test('GET_INFLIGHT_FD: a region for these queues of that size, in a reply as long as the request, with one descriptor', () => {
  for (const [features, size] of [
    [F_PROTOCOL_FEATURES, splitRegionSize(100)],
    [F_PROTOCOL_FEATURES | VIRTIO_F_RING_PACKED, packedRegionSize(100)],
  ] as const) {
    for (const length of [20, 24]) {
      const { b } = bench(features);
      const { description, length: replied, fds } = region(b, 2, 100, length);
      assert.deepEqual(description, { mmapSize: 2 * size, mmapOffset: 0, queues: 2, queueSize: 100 });
      assert.equal(replied, length);
      assert.equal(fds.length, 1);
      const mapping = b.os.map(fds[0]!, 0, 2 * size);
      const bytes = new Uint8Array(2 * size);
      mapping.view.copyOut(0, bytes, 0, bytes.length);
      // A version of 0: it was never used.
      assert.ok(bytes.every((byte) => byte === 0));
      mapping.release();
      finish(b);
    }
  }
});

test('GET_INFLIGHT_FD: what can not be is a region of no bytes, and a line that says why', () => {
  const cases: readonly [protocolFeatures: bigint, queues: number, queueSize: number, why: RegExp][] = [
    [0n, 1, 8, /INFLIGHT_SHMFD was not negotiated/],
    [INFLIGHT, 0, 8, /1 to 3 queues here, not 0/],
    [INFLIGHT, 4, 8, /1 to 3 queues here, not 4/],
    [INFLIGHT, 1, 0, /no 0 descriptors/],
    [INFLIGHT, 1, 40000, /no 40000 descriptors/],
  ];
  for (const [protocolFeatures, queues, queueSize, why] of cases) {
    const { b } = bench(F_PROTOCOL_FEATURES, protocolFeatures);
    const { description, fds } = region(b, queues, queueSize);
    assert.equal(description.mmapSize, 0);
    assert.deepEqual(fds, []);
    assert.match(b.warnings.join(), why);
    assert.equal(b.ended, undefined);
    finish(b);
  }
});

test('SET_INFLIGHT_FD: one that can not be is refused, whatever is wrong with it, and nothing is kept of it', () => {
  const { b } = bench();
  const size = splitRegionSize(8);
  const good = { mmapSize: 2 * size, mmapOffset: 0, queues: 2, queueSize: 8 };
  const set = (change: Partial<typeof good>, bytes = 2 * size): bigint => {
    const { fd, mapping } = b.os.createMemory('region', bytes);
    const answer = b.ask(REQUEST.SET_INFLIGHT_FD, encodeInflight({ ...good, ...change }), [fd]);
    b.os.closeFd(fd);
    mapping.release();
    return answer;
  };
  assert.equal(set({}), 0n);
  for (const [change, bytes, why] of [
    [{ mmapSize: 2 * size - 1 }, undefined, /take 384 bytes of an inflight region, not 383/],
    [{ mmapSize: 2 ** 40 }, 2 * size - 4, /too short/],
    [{ mmapOffset: 64 }, undefined, /too short/],
    [{ queues: 0 }, undefined, /1 to 3 queues/],
    [{ queues: 4, mmapSize: 4 * size }, undefined, /1 to 3 queues/],
    [{ queueSize: 0 }, undefined, /no 0 descriptors/],
    [{ queueSize: 12 }, undefined, /take 512 bytes/],
  ] as const) {
    b.warnings.length = 0;
    assert.notEqual(set(change, bytes), 0n, JSON.stringify(change));
    assert.match(b.warnings.join(), why);
  }
  const other = b.os.createOther();
  assert.notEqual(b.ask(REQUEST.SET_INFLIGHT_FD, encodeInflight(good), [other]), 0n);
  b.os.closeFd(other);
  assert.equal(b.ended, undefined);
  // The first one is there still.
  const ring = b.ring(0);
  ring.start();
  ring.enable();
  ring.request(7);
  assert.deepEqual(ring.answers(), [7]);
  assert.notEqual(set({}), 0n);
  assert.match(b.warnings.at(-1)!, /a ring runs/);
  finish(b);
});

test('SET_INFLIGHT_FD: without the feature it is refused', () => {
  const { b } = bench(F_PROTOCOL_FEATURES, 0n);
  const payload = encodeInflight({ mmapSize: 4096, mmapOffset: 0, queues: 1, queueSize: 8 });
  assert.notEqual(b.ask(REQUEST.SET_INFLIGHT_FD, payload, [b.memoryFd]), 0n);
  assert.match(b.warnings.join(), /INFLIGHT_SHMFD was not negotiated/);
  finish(b);
});

/** A region that the back-end made, and has. */
function share(b: Bench, queues: number, queueSize: number): { fd: number; bytes: number } {
  const { description, fds } = region(b, queues, queueSize);
  assert.equal(b.ask(REQUEST.SET_INFLIGHT_FD, encodeInflight(description), fds), 0n);
  return { fd: fds[0]!, bytes: description.mmapSize };
}

test('SET_INFLIGHT_FD: a ring that is larger than its region is for, or of another layout, is broken until a reset; one without a region is not', () => {
  const { b } = bench();
  const { fd } = share(b, 1, 8);
  const [large, other] = [b.ring(0, 16), b.ring(1, 16)];
  for (const ring of [large, other]) {
    ring.start();
    ring.enable();
  }
  assert.match(b.warnings.join(), /inflight region is for rings of 8, and ring 0 has 16/);
  other.request(1);
  assert.deepEqual(other.answers(), [1]);
  b.os.closeFd(fd);
  finish(b);

  const packed = bench(F_PROTOCOL_FEATURES | VIRTIO_F_RING_PACKED);
  const shared = share(packed.b, 1, 8);
  packed.b.negotiate();
  const ring = packed.b.ring(0);
  ring.start();
  ring.enable();
  assert.match(packed.b.warnings.join(), /inflight region is one of packed rings/);
  packed.b.os.closeFd(shared.fd);
  finish(packed.b);
});

test('SET_INFLIGHT_FD: a region full of nonsense breaks its ring, which a reset of the device heals', () => {
  const { b } = bench(F_PROTOCOL_FEATURES, SKIP | PROTOCOL_F.RESET_DEVICE);
  const { fd, bytes } = share(b, 1, 8);
  const mapping = b.os.map(b.os.duplicate(fd), 0, bytes);
  mapping.view.write32(8, 7 | (8 << 16));
  const ring = b.ring(0);
  ring.start();
  ring.enable();
  assert.match(
    b.warnings.join(),
    /queue 0 .* is broken until reset: inflight region: version 7 of it is not known/,
  );
  assert.equal(ring.err.signals > 0, true);
  b.say(REQUEST.RESET_DEVICE);
  const again = b.ring(0);
  again.start();
  again.enable();
  again.request(3);
  assert.deepEqual(again.answers(), [3]);
  mapping.release();
  b.os.closeFd(fd);
  finish(b);
});

test('GET_VRING_BASE_SKIP_DRAIN: what is in flight is not waited for, and is served anew, in its order, when the ring goes on', () => {
  const { b, device } = bench();
  const { fd } = share(b, 1, 8);
  const ring = b.ring(0);
  ring.start();
  ring.enable();
  ring.request(1);
  device.hold = true;
  ring.request(2);
  ring.request(3);
  b.say(REQUEST.GET_VRING_BASE_SKIP_DRAIN, encodeVringState({ index: 0, num: 0 }));
  const state = b.frontend.take(REQUEST.GET_VRING_BASE_SKIP_DRAIN);
  assert.deepEqual([state.getUint32(0, true), state.getUint32(4, true)], [0, 3]);
  assert.deepEqual(ring.answers(), [1]);
  ring.start({ base: 3 });
  ring.enable();
  // What the device still does for them might come after what it does for them anew.
  assert.equal(device.held, 2);
  device.giveUp();
  assert.equal(device.held, 0);
  assert.deepEqual(ring.answers(), []);
  b.os.run();
  assert.equal(device.held, 2);
  device.finish();
  assert.deepEqual(ring.answers(), [2, 3]);
  ring.request(4);
  device.finish();
  assert.deepEqual(ring.answers(), [4]);
  b.os.closeFd(fd);
  finish(b);
});

test('GET_VRING_BASE_SKIP_DRAIN: a device that gives up nothing is waited for some seconds, and not after a reset or another stop', () => {
  for (const end of ['time', 'stop', 'reset', 'close'] as const) {
    const { b, device } = bench(F_PROTOCOL_FEATURES, SKIP | PROTOCOL_F.RESET_DEVICE);
    const { fd } = share(b, 1, 8);
    const ring = b.ring(0);
    ring.start();
    ring.enable();
    device.hold = true;
    ring.request(2);
    b.say(REQUEST.GET_VRING_BASE_SKIP_DRAIN, encodeVringState({ index: 0, num: 0 }));
    b.frontend.take(REQUEST.GET_VRING_BASE_SKIP_DRAIN);
    ring.start({ base: 1 });
    ring.enable();
    b.clock.advance(4.9e9);
    b.os.run();
    assert.equal(device.held, 1);
    if (end === 'time') {
      b.clock.advance(0.2e9);
      b.os.run();
      assert.match(
        b.warnings.join(),
        /queue 0 \(q0\) has not given up its requests after 5 s: they are served anew all the same/,
      );
      assert.equal(device.held, 2);
    } else if (end === 'stop') {
      ring.stop();
      assert.equal(ring.takeBase(), 1);
      device.giveUp();
      b.os.run();
      assert.equal(device.held, 0);
    } else if (end === 'reset') {
      b.say(REQUEST.RESET_DEVICE);
      assert.equal(b.clock.open, 0);
    }
    b.os.closeFd(fd);
    finish(b);
  }
});

test('GET_VRING_BASE_SKIP_DRAIN: a device that can finish at once does so', () => {
  const { b, device } = bench();
  const { fd } = share(b, 1, 8);
  const ring = b.ring(0);
  ring.start();
  ring.enable();
  device.hold = true;
  device.yields = true;
  ring.request(2);
  b.say(REQUEST.GET_VRING_BASE_SKIP_DRAIN, encodeVringState({ index: 0, num: 0 }));
  b.frontend.take(REQUEST.GET_VRING_BASE_SKIP_DRAIN);
  assert.deepEqual(ring.answers(), [2]);
  b.os.closeFd(fd);
  finish(b);
});

test('GET_VRING_BASE_SKIP_DRAIN: a ring of which nobody keeps what is in flight is finished first', () => {
  const { b, device } = bench();
  const ring = b.ring(0);
  ring.start();
  ring.enable();
  device.hold = true;
  ring.request(2);
  b.say(REQUEST.GET_VRING_BASE_SKIP_DRAIN, encodeVringState({ index: 0, num: 0 }));
  assert.equal(b.frontend.replies.length, 0);
  device.finish();
  b.os.run();
  assert.equal(b.frontend.take(REQUEST.GET_VRING_BASE_SKIP_DRAIN).getUint32(4, true), 1);
  assert.deepEqual(ring.answers(), [2]);
  finish(b);
});

test('GET_VRING_BASE_SKIP_DRAIN: is not negotiated without the two that it takes, nor GET_VRING_BASE_INFLIGHT without the other', () => {
  for (const features of [
    PROTOCOL_F.GET_VRING_BASE_SKIP_DRAIN,
    PROTOCOL_F.GET_VRING_BASE_SKIP_DRAIN | INFLIGHT,
    PROTOCOL_F.GET_VRING_BASE_SKIP_DRAIN | PROTOCOL_F.GET_VRING_BASE_INFLIGHT,
    PROTOCOL_F.GET_VRING_BASE_INFLIGHT,
  ]) {
    const { b } = bench(F_PROTOCOL_FEATURES, 0n);
    assert.notEqual(b.ask(REQUEST.SET_PROTOCOL_FEATURES, encodeU64(features)), 0n);
    assert.notEqual(b.ask(REQUEST.GET_VRING_BASE_SKIP_DRAIN, encodeVringState({ index: 0, num: 0 })), 0n);
    finish(b);
  }
});

test('GET_VRING_BASE: with GET_VRING_BASE_INFLIGHT too, what is in flight is finished first', () => {
  const { b, device } = bench();
  const { fd } = share(b, 3, 64);
  const ring = b.ring(2);
  ring.start();
  ring.enable();
  device.hold = true;
  ring.request(2);
  ring.stop();
  assert.equal(b.frontend.replies.length, 0);
  device.finish();
  b.os.run();
  assert.equal(ring.takeBase(), 1);
  assert.deepEqual(ring.answers(), [2]);
  b.os.closeFd(fd);
  finish(b);
});

const RESETS = PROTOCOL_F.STATUS | PROTOCOL_F.RESET_DEVICE;

/** A ring that is stopped while its device has two requests, and a device status of 0 after that, as QEMU stops a guest. */
function stoppedWithTwo() {
  const { b, device } = bench(F_PROTOCOL_FEATURES, SKIP | RESETS);
  const { fd } = share(b, 1, 8);
  const ring = b.ring(0);
  ring.start();
  ring.enable();
  device.hold = true;
  ring.request(1);
  ring.request(2);
  b.say(REQUEST.GET_VRING_BASE_SKIP_DRAIN, encodeVringState({ index: 0, num: 0 }));
  const base = b.frontend.take(REQUEST.GET_VRING_BASE_SKIP_DRAIN).getUint32(4, true);
  b.say(REQUEST.SET_STATUS, encodeU64(0n));
  return { b, device, fd, ring, base };
}

test('SET_STATUS: 0 after a ring was stopped leaves on record what is in flight there, for when it goes on', () => {
  const { b, device, fd, ring, base } = stoppedWithTwo();
  device.giveUp();
  ring.start({ base });
  ring.enable();
  b.os.run();
  device.finish();
  assert.deepEqual(ring.answers(), [1, 2]);
  b.os.closeFd(fd);
  finish(b);
});

test('SET_STATUS: 0 after a ring was stopped, and another place for it: nothing is in flight there if it begins anew, and what is on record if it goes on', () => {
  for (const anew of [true, false]) {
    const { b, device, fd, base } = stoppedWithTwo();
    device.giveUp();
    device.hold = false;
    const ring = b.ring(0);
    ring.start({ base: anew ? 0 : base });
    ring.enable();
    b.os.run();
    if (anew) {
      ring.request(3);
      assert.deepEqual(ring.answers(), [3]);
      assert.deepEqual(b.warnings, []);
    } else {
      // The ring of another guest: what the front-end gave with it is believed, and checked.
      assert.match(b.warnings.join(), /inflight region/);
    }
    b.os.closeFd(fd);
    finish(b);
  }
});

test('SET_STATUS: 0 while a ring runs, and RESET_DEVICE: nothing is in flight any more', () => {
  for (const message of ['status', 'reset', 'stop and reset'] as const) {
    const { b, device } = bench(F_PROTOCOL_FEATURES, SKIP | RESETS);
    const { fd } = share(b, 1, 8);
    const ring = b.ring(0);
    ring.start();
    ring.enable();
    device.hold = true;
    ring.request(1);
    if (message === 'stop and reset') {
      b.say(REQUEST.GET_VRING_BASE_SKIP_DRAIN, encodeVringState({ index: 0, num: 0 }));
      b.frontend.take(REQUEST.GET_VRING_BASE_SKIP_DRAIN);
    }
    if (message === 'status') b.say(REQUEST.SET_STATUS, encodeU64(0n));
    else b.say(REQUEST.RESET_DEVICE);
    device.hold = false;
    const again = b.ring(0);
    again.start();
    again.enable();
    again.request(3);
    assert.deepEqual(again.answers(), [3], message);
    assert.deepEqual(b.warnings, []);
    b.os.closeFd(fd);
    finish(b);
  }
});
