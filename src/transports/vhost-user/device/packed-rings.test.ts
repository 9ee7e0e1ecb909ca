import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ALL_RING_FEATURES, RING_FEATURES, VIRTIO_F_RING_PACKED } from '../../../virtio/features.js';
import { F_PROTOCOL_FEATURES, REQUEST } from '../messages.js';
import { encodeU64, encodeVringState } from '../payloads.js';
import { Bench } from '../testing/bench.js';
import { ProbeDevice } from '../testing/probe-device.js';

/*
 * What packed rings change for a back-end (VIRTIO 1.3 §2.8): sizes, the areas' lengths, and the places that SET_VRING_BASE and
 * GET_VRING_BASE carry in both halves.
 */

const FEATURES = F_PROTOCOL_FEATURES | VIRTIO_F_RING_PACKED;
const state = (index: number, num: number): Uint8Array => encodeVringState({ index, num });

function bench() {
  const device = new ProbeDevice(1);
  const b = new Bench(device, ALL_RING_FEATURES);
  b.negotiate(FEATURES);
  return { device, b };
}

function finish(b: Bench): void {
  assert.deepEqual([b.ended, b.warnings], [undefined, []]);
  b.close();
  assert.equal(b.os.openFds, 0);
}

test('RING_PACKED is offered only when told', () => {
  for (const [told, offered] of [
    [undefined, false],
    [RING_FEATURES, false],
    [ALL_RING_FEATURES, true],
  ] as const) {
    const b = new Bench(new ProbeDevice(1), told);
    b.say(REQUEST.GET_FEATURES);
    const features = b.frontend.takeU64(REQUEST.GET_FEATURES);
    assert.equal((features & VIRTIO_F_RING_PACKED) !== 0n, offered);
    assert.equal(b.ask(REQUEST.SET_FEATURES, encodeU64(FEATURES)) === 0n, offered);
    b.close();
  }
});

test('2.8: a packed ring has any size up to 32768', () => {
  const { b } = bench();
  for (const size of [1, 3, 5, 65, 256, 32_767, 32_768]) {
    assert.equal(b.ask(REQUEST.SET_VRING_NUM, state(0, size)), 0n);
  }
  for (const size of [0, 32_769, 65_536, 0xffff_ffff]) {
    assert.notEqual(b.ask(REQUEST.SET_VRING_NUM, state(0, size)), 0n);
  }
  assert.match(b.warnings[0]!, /ring 0 \(\w+\) has 1 to 32768 descriptors, not 0/);
  b.close();
});

test('2.8.1: SET_VRING_BASE and GET_VRING_BASE carry both places, and a ring goes on from there', () => {
  for (const base of [0x8000_8000, 0x8000]) {
    const { b } = bench();
    const ring = b.packedRing(0, 5);
    // Some front-ends leave the upper half zero.
    ring.start({ base });
    ring.enable();
    for (let i = 0; i < 4; i++) {
      ring.request(i);
      assert.deepEqual(ring.answers(), [i]);
    }
    ring.stop();
    // 4 requests of two descriptors each: once round, and three more.
    assert.equal(ring.takeBase(), 0x0003_0003);
    ring.request(9);
    assert.deepEqual(ring.answers(), []);
    ring.start({ base: 0x0003_0003 });
    assert.deepEqual(ring.answers(), [9]);
    ring.stop();
    assert.equal(ring.takeBase(), 0x8000_8000);
    finish(b);
  }
});

test('a ring that was given no base starts as a fresh one', () => {
  const { b } = bench();
  const ring = b.packedRing(0, 4);
  b.say(REQUEST.SET_VRING_NUM, state(0, 4));
  b.say(REQUEST.SET_VRING_ADDR, ring.addresses);
  b.say(REQUEST.SET_VRING_KICK, encodeU64(0n), { fds: [ring.kick.fd] });
  ring.enable();
  ring.request(7);
  assert.deepEqual(ring.answers(), [7]);
  finish(b);
});

test('2.8.1: places that a ring does not have break it, until the driver resets', () => {
  for (const base of [0x8005_8005, 0x8000_8006, 0x8001_8000]) {
    const { b } = bench();
    const ring = b.packedRing(0, 5);
    ring.start({ base });
    ring.enable();
    assert.match(
      b.warnings.at(-1)!,
      /is broken until reset: 0x[0-9a-f]+ is no pair of places in a ring of 5 \(VIRTIO §2\.8\.1\)/,
    );
    assert.equal(b.ended, undefined);
    b.close();
  }
});

test('a driver that comes after another one has a new device, whatever ring the last one had', () => {
  const { b, device } = bench();
  const ring = b.packedRing(0, 5);
  ring.start({ base: 0x8000_8000 });
  ring.enable();
  ring.request(1);
  ring.stop();
  ring.takeBase();
  b.say(REQUEST.SET_FEATURES, encodeU64(F_PROTOCOL_FEATURES));
  const split = b.ring(0);
  split.start();
  split.request(2);
  assert.deepEqual(split.answers(), [2]);
  assert.deepEqual(
    device.calls.map((call) => call.split(' ')[0]),
    ['activate', 'reset', 'activate'],
  );
  finish(b);
});
