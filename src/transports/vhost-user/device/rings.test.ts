import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GuestAddress } from '../../../memory/address.js';
import { defineDevice } from '../../../virtio/define-device.js';
import {
  ALL_RING_FEATURES,
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_RING_RESET,
  VIRTIO_F_VERSION_1,
} from '../../../virtio/features.js';
import { F_PROTOCOL_FEATURES, PROTOCOL_F, REQUEST, VRING_FD } from '../messages.js';
import { encodeU64, encodeVringAddress, encodeVringState } from '../payloads.js';
import { Bench, type BenchRing, USER_START } from '../testing/bench.js';
import { ProbeDevice } from '../testing/probe-device.js';

const SECOND = 1e9;

function bench(queues = 2): { bench: Bench; device: ProbeDevice } {
  const device = new ProbeDevice(queues);
  return { bench: new Bench(device), device };
}

/** A bench whose ring 0 is served. */
function running(queues = 2): { bench: Bench; device: ProbeDevice; ring: BenchRing } {
  const { bench: b, device } = bench(queues);
  b.negotiate();
  const ring = b.ring(0);
  ring.start();
  ring.enable();
  return { bench: b, device, ring };
}

function finish(bench: Bench): void {
  bench.close();
  assert.equal(bench.os.openFds, 0);
  assert.equal(bench.os.openMappings, 0);
  assert.equal(bench.os.staleAccesses, 0);
  assert.equal(bench.clock.open, 0);
}

function state(index: number, num: number): Uint8Array {
  return encodeVringState({ index, num });
}

test('a ring starts with SET_VRING_KICK, and is served once it is enabled too', () => {
  const { bench: b, device } = bench();
  b.negotiate();
  const ring = b.ring(0);
  ring.request(1);
  ring.enable();
  assert.deepEqual(device.calls, []);
  ring.enable(false);
  ring.start();
  ring.request(2);
  assert.deepEqual(device.calls, []);
  assert.deepEqual(ring.answers(), []);
  ring.enable();
  assert.deepEqual(device.calls, ['activate 0']);
  assert.deepEqual(ring.answers(), [1, 2]);
  finish(b);
});

test('enabled first, then started: the same', () => {
  const { bench: b, device } = bench();
  b.negotiate();
  const ring = b.ring(0);
  ring.request(1, false);
  ring.enable();
  ring.start();
  assert.deepEqual(device.calls, ['activate 0']);
  assert.deepEqual(ring.answers(), [1]);
  finish(b);
});

test('work that is in a ring when it starts is served without a kick', () => {
  const { bench: b } = bench();
  b.negotiate();
  const ring = b.ring(0);
  for (let i = 0; i < 4; i++) ring.request(i, false);
  ring.start();
  ring.enable();
  assert.deepEqual(ring.answers(), [0, 1, 2, 3]);
  assert.equal(ring.kick.signals, 0);
  finish(b);
});

test('the driver is interrupted through the call event; a second SET_VRING_CALL replaces it, and none means no interrupts', () => {
  const { bench: b, ring } = running();
  ring.request(1);
  assert.equal(ring.call.signals, 1);
  const second = b.os.createEvent();
  assert.equal(b.ask(REQUEST.SET_VRING_CALL, encodeU64(0n), [second.fd]), 0n);
  ring.request(2);
  assert.equal(ring.call.signals, 1);
  assert.equal(second.signals, 1);
  assert.equal(b.ask(REQUEST.SET_VRING_CALL, encodeU64(BigInt(VRING_FD.NOFD))), 0n);
  ring.request(3);
  assert.equal(second.signals, 1);
  assert.deepEqual(ring.answers(), [1, 2, 3]);
  second.close();
  finish(b);
});

test('a second SET_VRING_KICK replaces the event of a running ring', () => {
  const { bench: b, ring } = running();
  const second = b.os.createEvent();
  assert.equal(b.ask(REQUEST.SET_VRING_KICK, encodeU64(0n), [second.fd]), 0n);
  ring.request(1);
  assert.deepEqual(ring.answers(), []);
  second.signal();
  b.os.run();
  assert.deepEqual(ring.answers(), [1]);
  second.close();
  finish(b);
});

test('SET_VRING_KICK without an event: the ring is polled', () => {
  const { bench: b, ring } = running();
  assert.equal(b.ask(REQUEST.SET_VRING_KICK, encodeU64(BigInt(VRING_FD.NOFD))), 0n);
  ring.request(1, false);
  ring.request(2, false);
  assert.deepEqual(ring.answers(), []);
  b.clock.advance(SECOND / 100);
  assert.deepEqual(ring.answers(), [1, 2]);
  ring.stop();
  ring.takeBase();
  ring.request(3, false);
  b.clock.advance(SECOND);
  assert.deepEqual(ring.answers(), []);
  finish(b);
});

test('SET_FEATURES without bit 30: rings are enabled from the start', () => {
  const { bench: b } = bench();
  b.negotiate(VIRTIO_F_VERSION_1);
  const ring = b.ring(1);
  ring.start();
  ring.request(4);
  assert.deepEqual(ring.answers(), [4]);
  finish(b);
});

test('the device is told the feature bits of its own that were accepted', () => {
  const { bench: b, device } = bench();
  b.negotiate(F_PROTOCOL_FEATURES | VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | 2n);
  const ring = b.ring(0);
  ring.start();
  ring.enable();
  assert.deepEqual(device.calls, ['activate 2']);
  finish(b);
});

test('SET_FEATURES with bits that were not offered: no ring starts before it is put right', () => {
  const { bench: b, device } = bench();
  b.negotiate(F_PROTOCOL_FEATURES | (1n << 34n));
  const ring = b.ring(0);
  ring.start();
  assert.notEqual(b.ask(REQUEST.SET_VRING_ENABLE, state(0, 1)), 0n);
  assert.equal(ring.err.signals, 1);
  assert.deepEqual(device.calls, []);
  b.say(REQUEST.SET_FEATURES, encodeU64(F_PROTOCOL_FEATURES));
  assert.equal(b.ask(REQUEST.SET_VRING_ENABLE, state(0, 1)), 0n);
  ring.request(1);
  assert.deepEqual(ring.answers(), [1]);
  finish(b);
});

test('SET_FEATURES while a ring runs: the same bits are fine, others are refused', () => {
  const { bench: b, ring, device } = running();
  assert.equal(b.ask(REQUEST.SET_FEATURES, encodeU64(F_PROTOCOL_FEATURES)), 0n);
  assert.notEqual(b.ask(REQUEST.SET_FEATURES, encodeU64(F_PROTOCOL_FEATURES | 1n)), 0n);
  ring.request(1);
  assert.deepEqual(ring.answers(), [1]);
  assert.deepEqual(device.calls, ['activate 0']);
  finish(b);
});

test('SET_VRING_ENABLE 0: the ring is left alone until it is enabled again, and no request is lost', () => {
  const { bench: b, ring, device } = running();
  device.hold = true;
  ring.request(1);
  ring.enable(false);
  ring.request(2);
  assert.equal(device.held, 1);
  // What is in flight may still be finished.
  device.finish();
  assert.deepEqual(ring.answers(), [1]);
  // A device that looks for work by itself finds none.
  device.queueNotified(device.host!.queues[0]!);
  assert.equal(device.held, 0);
  device.hold = false;
  ring.enable();
  assert.deepEqual(ring.answers(), [2]);
  assert.deepEqual(device.calls, ['activate 0']);
  finish(b);
});

test('GET_VRING_BASE: the ring stops where it is, and is not touched any more', () => {
  const { bench: b, ring } = running();
  for (let i = 0; i < 5; i++) {
    ring.request(i);
    assert.deepEqual(ring.answers(), [i]);
  }
  const fds = b.os.openFds;
  ring.stop();
  assert.equal(ring.takeBase(), 5);
  // The kick event goes, the others stay.
  assert.equal(b.os.openFds, fds - 1);
  const signals = ring.call.signals;
  ring.request(9);
  assert.deepEqual(ring.answers(), []);
  assert.equal(ring.call.signals, signals);
  ring.stop();
  assert.equal(ring.takeBase(), 5);
  finish(b);
});

test('GET_VRING_BASE: what is in flight is finished first, and messages behind it are answered in order', () => {
  const { bench: b, ring, device } = running();
  device.hold = true;
  ring.request(1);
  ring.request(2);
  ring.stop();
  b.say(REQUEST.GET_QUEUE_NUM);
  ring.request(3);
  assert.equal(b.frontend.replies.length, 0);
  // Not taken, even by a device that looks for work by itself: the ring is stopping.
  device.queueNotified(device.host!.queues[0]!);
  assert.equal(device.held, 2);
  device.finish();
  b.os.run();
  assert.deepEqual(
    b.frontend.replies.map(({ request }) => request),
    [REQUEST.GET_VRING_BASE, REQUEST.GET_QUEUE_NUM],
  );
  assert.equal(ring.takeBase(), 2);
  assert.deepEqual(ring.answers(), [1, 2]);
  assert.deepEqual(b.warnings, []);
  finish(b);
});

test('GET_VRING_BASE: what comes behind it is not carried out inside the device that just finished', () => {
  const { bench: b, ring, device } = running();
  device.hold = true;
  ring.request(1);
  ring.stop();
  b.say(REQUEST.RESET_DEVICE);
  device.finish();
  device.calls.push('finished');
  b.os.run();
  assert.deepEqual(device.calls, ['activate 0', 'finished', 'reset']);
  assert.equal(ring.takeBase(), 1);
  finish(b);
});

test('GET_VRING_BASE: time goes on for the device while it finishes, and stops with the last ring', () => {
  const { bench: b, ring, device } = running();
  device.hold = true;
  ring.request(1);
  const { clock } = device.host!;
  const alarm = clock.alarm(() => device.finish());
  alarm.set(clock.now() + SECOND);
  ring.enable(false);
  ring.stop();
  b.clock.advance(2 * SECOND);
  b.os.run();
  assert.equal(ring.takeBase(), 1);
  const then = clock.now();
  b.clock.advance(SECOND);
  assert.equal(clock.now(), then);
  assert.deepEqual(b.warnings, []);
  finish(b);
});

test('GET_VRING_BASE: a device that does not finish is given 5 s, then the answer comes with a warning', () => {
  const { bench: b, ring, device } = running();
  device.hold = true;
  ring.request(1);
  ring.stop();
  b.clock.advance(4.9 * SECOND);
  b.os.run();
  assert.equal(b.frontend.replies.length, 0);
  b.clock.advance(0.2 * SECOND);
  b.os.run();
  assert.equal(ring.takeBase(), 1);
  assert.deepEqual(b.warnings, [
    'probe: queue 0 (q0) has requests in flight after 5 s: it is stopped without them',
  ]);
  // Too late: nothing is touched.
  assert.throws(() => device.finish(), TypeError);
  b.os.run();
  assert.deepEqual(ring.answers(), []);
  finish(b);
});

test('GET_VRING_BASE: a device that hands back what it keeps is not waited for', () => {
  const { bench: b, ring, device } = running();
  device.hold = true;
  device.yields = true;
  ring.request(1);
  ring.request(2);
  ring.stop();
  b.os.run();
  assert.equal(ring.takeBase(), 2);
  assert.deepEqual(ring.answers(), [1, 2]);
  assert.deepEqual([device.calls, b.warnings], [['activate 0', 'stopping 0'], []]);
  finish(b);
});

test('a front-end that goes while a ring drains leaves nothing behind', () => {
  const { bench: b, ring, device } = running();
  device.hold = true;
  ring.request(1);
  ring.stop();
  b.frontend.close();
  b.os.run();
  assert.deepEqual(b.ended, { error: undefined });
  assert.deepEqual(device.calls, ['activate 0', 'reset', 'close']);
  finish(b);
});

test('a front-end that floods while a ring drains is cut off', () => {
  const { bench: b, ring, device } = running();
  device.hold = true;
  ring.request(1);
  ring.stop();
  for (let i = 0; i < 400; i++) b.frontend.send(99, new Uint8Array(4000), { fds: [b.memoryFd] });
  b.os.run();
  assert.match(b.ended?.error?.message ?? '', /without waiting for an answer/);
  finish(b);
});

test('a paused guest goes on: the rings start where they stopped, and time did not pass for the device', () => {
  const { bench: b, ring, device } = running();
  const other = b.ring(1);
  other.start();
  other.enable();
  ring.request(1);
  assert.deepEqual(ring.answers(), [1]);
  const { clock } = device.host!;
  const then = clock.now();
  for (const r of [ring, other]) r.enable(false);
  for (const r of [ring, other]) r.stop();
  const bases = [ring.takeBase(), other.takeBase()];
  assert.deepEqual(bases, [1, 0]);
  b.clock.advance(60 * SECOND);
  b.negotiate();
  ring.request(2);
  ring.start({ base: bases[0]! });
  other.start({ base: bases[1]! });
  ring.enable();
  other.enable();
  assert.deepEqual(device.calls, ['activate 0']);
  assert.equal(clock.now(), then);
  assert.deepEqual(ring.answers(), [2]);
  finish(b);
});

test('time passes for the device while any of its rings runs', () => {
  const { bench: b, ring, device } = running();
  const other = b.ring(1);
  other.start();
  other.enable();
  const { clock } = device.host!;
  ring.stop();
  ring.takeBase();
  const then = clock.now();
  b.clock.advance(SECOND);
  assert.equal(clock.now(), then + SECOND);
  finish(b);
});

test('a guest that reboots: rings that were used start at 0 again, and the device is reset first', () => {
  const { bench: b, device } = bench();
  const features = F_PROTOCOL_FEATURES | 3n;
  b.negotiate(features);
  const [unused, used] = [b.ring(0), b.ring(1)];
  // The ring that shows nothing comes first.
  const boot = (): void => {
    for (const ring of [unused, used]) ring.start();
    for (const ring of [unused, used]) ring.enable();
  };
  boot();
  used.request(1);
  for (const ring of [unused, used]) ring.enable(false);
  for (const ring of [unused, used]) ring.stop();
  assert.deepEqual([unused.takeBase(), used.takeBase()], [0, 1]);
  // The same kernel has its rings where they were before, zeroed.
  b.memory.write(used.queue.driverArea, new Uint8Array(4));
  b.memory.write(used.queue.deviceArea, new Uint8Array(4));
  b.negotiate(features);
  boot();
  assert.deepEqual(device.calls, ['activate 3', 'reset', 'activate 3']);
  unused.request(2);
  assert.deepEqual(unused.answers(), [2]);
  finish(b);
});

test('2.6.1: with RING_RESET a ring that begins anew is another, and the device the same, where a reset of it would be told', () => {
  for (const told of [PROTOCOL_F.RESET_DEVICE, PROTOCOL_F.STATUS, PROTOCOL_F.MQ]) {
    const device = new ProbeDevice(1);
    const b = new Bench(device, ALL_RING_FEATURES);
    b.say(REQUEST.SET_PROTOCOL_FEATURES, encodeU64(told));
    b.negotiate(F_PROTOCOL_FEATURES | VIRTIO_F_VERSION_1 | VIRTIO_F_RING_RESET);
    const first = b.ring(0);
    first.start();
    first.enable();
    first.request(1);
    assert.deepEqual(first.answers(), [1]);
    first.enable(false);
    first.stop();
    assert.equal(first.takeBase(), 1);
    const other = b.ring(0, 16);
    other.request(2);
    assert.deepEqual([other.answers(), first.answers()], [[], []]);
    other.start();
    other.enable();
    assert.deepEqual(other.answers(), [2]);
    const calls = device.calls.map((call) => call.split(' ')[0]);
    // From one that can't tell, it can be nothing but a reboot.
    assert.deepEqual(calls, told === PROTOCOL_F.MQ ? ['activate', 'reset', 'activate'] : ['activate']);
    finish(b);
  }
});

test('another driver at the same base: other addresses, another size or other features tell', () => {
  const ways: readonly ((b: Bench, ring: BenchRing) => void)[] = [
    (b) => {
      const other = b.ring(0);
      other.start();
      other.enable();
    },
    (b) => {
      const larger = b.ring(0, 16);
      larger.start();
      larger.enable();
    },
    (b, ring) => {
      b.say(REQUEST.SET_FEATURES, encodeU64(F_PROTOCOL_FEATURES | 1n));
      ring.start();
      ring.enable();
    },
  ];
  for (const restart of ways) {
    const { bench: b, ring, device } = running();
    ring.stop();
    assert.equal(ring.takeBase(), 0);
    restart(b, ring);
    assert.deepEqual(
      device.calls.map((call) => call.split(' ')[0]),
      ['activate', 'reset', 'activate'],
    );
    finish(b);
  }
});

test('a config change that came while the guest was paused is told when it goes on', () => {
  const { bench: b, ring, device } = running();
  ring.stop();
  const base = ring.takeBase();
  device.host!.configChanged();
  ring.start({ base });
  ring.enable();
  assert.deepEqual(device.calls, ['activate 0']);
  finish(b);
});

test('RESET_DEVICE: rings are stopped and disabled, the device is as new', () => {
  const { bench: b, ring, device } = running();
  device.hold = true;
  ring.request(1);
  assert.equal(b.ask(REQUEST.RESET_DEVICE), 0n);
  assert.deepEqual(device.calls, ['activate 0', 'reset']);
  ring.request(2);
  assert.equal(device.held, 0);
  ring.stop();
  assert.equal(ring.takeBase(), 0);
  device.hold = false;
  const fresh = b.ring(0);
  fresh.start();
  fresh.request(3);
  assert.deepEqual(fresh.answers(), []);
  fresh.enable();
  assert.deepEqual(fresh.answers(), [3]);
  assert.deepEqual(device.calls, ['activate 0', 'reset', 'activate 0']);
  finish(b);
});

test('RESET_OWNER: rings are disabled, and nothing is forgotten', () => {
  const { bench: b, ring, device } = running();
  assert.equal(b.ask(REQUEST.RESET_OWNER), 0n);
  ring.request(1);
  assert.deepEqual(ring.answers(), []);
  ring.enable();
  assert.deepEqual(ring.answers(), [1]);
  assert.deepEqual(device.calls, ['activate 0']);
  finish(b);
});

test('the layout of a running ring does not change; saying the same again is no change', () => {
  const { bench: b, ring } = running();
  const elsewhere = b.ring(0).addresses;
  assert.equal(b.ask(REQUEST.SET_VRING_NUM, state(0, 8)), 0n);
  assert.equal(b.ask(REQUEST.SET_VRING_ADDR, ring.addresses), 0n);
  assert.notEqual(b.ask(REQUEST.SET_VRING_NUM, state(0, 16)), 0n);
  assert.notEqual(b.ask(REQUEST.SET_VRING_ADDR, elsewhere), 0n);
  assert.notEqual(b.ask(REQUEST.SET_VRING_BASE, state(0, 0)), 0n);
  ring.request(1);
  assert.deepEqual(ring.answers(), [1]);
  finish(b);
});

test('a front-end, which can not be told of a size, takes any that can be', () => {
  const { bench: b } = bench();
  for (const size of [0, 3, 65, 65_536, 0xffff_ffff, 0x8000_0000]) {
    assert.notEqual(b.ask(REQUEST.SET_VRING_NUM, state(0, size)), 0n);
  }
  for (const size of [1, 2, 64, 256, 1024, 32_768])
    assert.equal(b.ask(REQUEST.SET_VRING_NUM, state(0, size)), 0n);
  assert.notEqual(b.ask(REQUEST.SET_VRING_BASE, state(0, 65_536)), 0n);
  assert.equal(b.ended, undefined);
  finish(b);
});

test('a size beyond the limit that the device names is refused', () => {
  const queues = [{ name: 'q', size: 16, sizeLimit: 64 }];
  const b = new Bench(defineDevice({ id: 63, name: 'limited', queues })());
  assert.equal(b.ask(REQUEST.SET_VRING_NUM, state(0, 64)), 0n);
  assert.notEqual(b.ask(REQUEST.SET_VRING_NUM, state(0, 128)), 0n);
  assert.match(b.warnings[0]!, /ring 0 \(q\) has a power of two of descriptors, at most 64, not 128/);
  finish(b);
});

test('a ring that is not there is refused in every message, and its base is 0', () => {
  const { bench: b } = bench(2);
  const event = b.os.createEvent();
  const refused: readonly (readonly [number, Uint8Array, number?])[] = [
    [REQUEST.SET_VRING_NUM, state(2, 8)],
    [REQUEST.SET_VRING_BASE, state(0xffff_ffff, 0)],
    [REQUEST.SET_VRING_ENABLE, state(2, 1)],
    [REQUEST.SET_VRING_ADDR, new Uint8Array(40).fill(0xff)],
    [REQUEST.SET_VRING_KICK, encodeU64(2n), event.fd],
    [REQUEST.SET_VRING_CALL, encodeU64(0xffn), event.fd],
    [REQUEST.SET_VRING_ERR, encodeU64(2n), event.fd],
  ];
  for (const [request, payload, fd] of refused) {
    assert.notEqual(b.ask(request, payload, fd === undefined ? [] : [fd]), 0n);
  }
  b.say(REQUEST.GET_VRING_BASE, state(2, 0));
  const reply = b.frontend.take(REQUEST.GET_VRING_BASE);
  assert.deepEqual([reply.getUint32(0, true), reply.getUint32(4, true)], [2, 0]);
  assert.equal(b.ended, undefined);
  event.close();
  finish(b);
});

test('a file or a pipe where an event belongs is refused, and the ring keeps what it had', () => {
  const { bench: b, ring } = running();
  const other = b.os.createOther();
  for (const request of [REQUEST.SET_VRING_KICK, REQUEST.SET_VRING_CALL, REQUEST.SET_VRING_ERR]) {
    assert.notEqual(b.ask(request, encodeU64(0n), [other]), 0n);
    assert.notEqual(b.ask(request, encodeU64(0n), [b.memoryFd]), 0n);
  }
  assert.equal(b.warnings.length, 6);
  b.os.closeFd(other);
  ring.request(1);
  assert.deepEqual(ring.answers(), [1]);
  assert.equal(ring.call.signals, 1);
  finish(b);
});

test('rings may share one event', () => {
  const { bench: b } = bench();
  b.negotiate();
  const [first, second] = [b.ring(0), b.ring(1)];
  for (const ring of [first, second]) {
    ring.start();
    for (const request of [REQUEST.SET_VRING_KICK, REQUEST.SET_VRING_CALL]) {
      assert.equal(b.ask(request, encodeU64(BigInt(ring.index)), [first.kick.fd]), 0n);
    }
    ring.enable();
  }
  second.request(1, false);
  first.request(2, false);
  first.kick.signal();
  b.os.run();
  assert.deepEqual([first.answers(), second.answers()], [[2], [1]]);
  finish(b);
});

test('started before it has a size, addresses or memory: refused when it is to be served, and put right later', () => {
  const { bench: b, device } = bench();
  b.say(REQUEST.SET_FEATURES, encodeU64(F_PROTOCOL_FEATURES));
  const ring = b.ring(0);
  ring.request(1, false);
  const enable = (): bigint => b.ask(REQUEST.SET_VRING_ENABLE, state(0, 1));
  b.say(REQUEST.SET_VRING_ERR, encodeU64(0n), { fds: [ring.err.fd] });
  assert.equal(b.ask(REQUEST.SET_VRING_KICK, encodeU64(0n), [ring.kick.fd]), 0n);
  assert.notEqual(enable(), 0n);
  b.say(REQUEST.SET_VRING_NUM, state(0, 8));
  assert.notEqual(enable(), 0n);
  b.say(REQUEST.SET_VRING_ADDR, ring.addresses);
  assert.notEqual(enable(), 0n);
  assert.equal(ring.err.signals, 3);
  assert.deepEqual(device.calls, []);
  assert.equal(b.ask(REQUEST.SET_MEM_TABLE, b.memoryTable(), [b.memoryFd]), 0n);
  assert.equal(enable(), 0n);
  assert.deepEqual(ring.answers(), [1]);
  finish(b);
});

test('2.7: areas that are misaligned, or not in memory, break that ring only, and a restart elsewhere heals it', () => {
  const good = USER_START;
  const addresses = {
    index: 0,
    flags: 0,
    descriptor: good,
    available: good,
    used: good,
    log: 0 as GuestAddress,
  };
  for (const bad of [
    { descriptor: good + 8 },
    { available: good + 1 },
    { used: good + 2 },
    { descriptor: 0 },
    { descriptor: good + (1 << 20) - 16 },
    { available: good - 2 },
    { used: 2 ** 52 },
  ]) {
    const { bench: b, device } = bench();
    b.negotiate();
    const other = b.ring(1);
    other.start();
    other.enable();
    const ring = b.ring(0);
    ring.start();
    b.say(REQUEST.SET_VRING_ADDR, encodeVringAddress({ ...addresses, ...(bad as object) }));
    assert.equal(b.ask(REQUEST.SET_VRING_ENABLE, state(0, 1)), 0n, 'the front-end did nothing wrong');
    assert.deepEqual([ring.err.signals, other.err.signals], [1, 0]);
    assert.equal(b.warnings.length, 1);
    assert.match(b.warnings[0] ?? '', /^probe: queue 0 \(q0\) is broken until reset: /);
    b.say(REQUEST.GET_STATUS);
    assert.equal(b.frontend.takeU64(REQUEST.GET_STATUS), 0x40n, 'NEEDS_RESET');
    ring.request(1);
    other.request(2);
    assert.deepEqual([ring.answers(), other.answers()], [[], [2]]);
    ring.stop();
    assert.equal(ring.takeBase(), 0);
    const healed = b.ring(0);
    healed.start();
    healed.enable();
    healed.request(3);
    assert.deepEqual(healed.answers(), [3]);
    b.say(REQUEST.GET_STATUS);
    assert.equal(b.frontend.takeU64(REQUEST.GET_STATUS), 0n);
    assert.deepEqual(device.calls, ['activate 0']);
    assert.equal(b.ended, undefined);
    finish(b);
  }
});

test('2.1.2: a driver that breaks its ring breaks that ring only; the error event says so, and a restart heals it', () => {
  const { bench: b, ring } = running();
  const other = b.ring(1);
  other.start();
  other.enable();
  // The available index jumps further than there are descriptors.
  b.memory.write(ring.queue.driverArea, new Uint8Array([0, 0, 100, 0]));
  ring.kick.signal();
  b.os.run();
  assert.equal(ring.err.signals, 1);
  assert.equal(other.err.signals, 0);
  assert.equal(b.warnings.length, 1);
  assert.match(b.warnings[0] ?? '', /^probe: queue 0 \(q0\) is broken/);
  other.request(1);
  assert.deepEqual(other.answers(), [1]);
  ring.stop();
  ring.takeBase();
  const fresh = b.ring(0);
  fresh.start();
  fresh.enable();
  fresh.request(2);
  assert.deepEqual(fresh.answers(), [2]);
  assert.equal(b.ended, undefined);
  finish(b);
});

test('memory hot-plug: SET_MEM_TABLE while a ring runs, with requests in flight', () => {
  const { bench: b, ring, device } = running();
  device.hold = true;
  ring.request(1);
  assert.equal(b.ask(REQUEST.SET_MEM_TABLE, b.memoryTable(), [b.memoryFd]), 0n);
  ring.request(2);
  device.finish();
  assert.deepEqual(ring.answers(), [1, 2]);
  assert.equal(b.os.openMappings, 2);
  assert.deepEqual(b.warnings, []);
  finish(b);
});

test('SET_MEM_TABLE that takes the memory of a running ring away breaks the ring and nothing else', () => {
  const { bench: b, ring } = running();
  assert.equal(b.ask(REQUEST.SET_MEM_TABLE, new Uint8Array(8)), 0n);
  ring.request(1);
  assert.equal(ring.err.signals, 1);
  assert.equal(b.ended, undefined);
  ring.stop();
  assert.equal(ring.takeBase(), 0);
  b.negotiate();
  ring.start();
  ring.enable();
  assert.deepEqual(ring.answers(), [1]);
  finish(b);
});

test('a device that throws breaks all its rings, and the connection lives', () => {
  const { bench: b, ring, device } = running();
  device.queueNotified = () => {
    throw new Error('oops');
  };
  ring.request(1);
  assert.equal(ring.err.signals, 1);
  assert.deepEqual(b.warnings, ['probe: the device failed, and needs a reset by its driver: oops']);
  assert.equal(b.ask(REQUEST.SET_OWNER), 0n);
  finish(b);
});

test('the base wraps at 16 bits, and a ring can start from any', () => {
  const { bench: b } = bench();
  b.negotiate();
  const ring = b.ring(0, 8, 65_534);
  ring.start({ base: 65_534 });
  ring.enable();
  for (let i = 0; i < 4; i++) {
    ring.request(i);
    assert.deepEqual(ring.answers(), [i]);
  }
  ring.stop();
  assert.equal(ring.takeBase(), 2);
  finish(b);
});
