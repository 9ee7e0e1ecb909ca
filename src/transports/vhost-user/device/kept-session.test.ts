import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ALL_RING_FEATURES, VIRTIO_F_RING_PACKED } from '../../../virtio/features.js';
import type { Keep, KeptItem } from '../../keep.js';
import { encodeMessage } from '../codec.js';
import { F_PROTOCOL_FEATURES, PROTOCOL_F, REQUEST, VHOST_F_LOG_ALL, VHOST_VRING_F_LOG } from '../messages.js';
import { LOG_PAGE } from '../page-log.js';
import { decodeInflight, encodeInflight, encodeLog, encodeU64, encodeVringState } from '../payloads.js';
import { Bench, GUEST_START, MEMORY_SIZE } from '../testing/bench.js';
import { CountingDevice } from '../testing/counting-device.js';
import { ProbeDevice } from '../testing/probe-device.js';
import { notesOf, ordered } from './records.js';

const state = (index: number, num = 0): Uint8Array => encodeVringState({ index, num });

test('a session whose process died goes on with the log of dirty pages, and with rings that messages started', () => {
  const b = new Bench(new ProbeDevice(1), undefined, true);
  const size = (GUEST_START + MEMORY_SIZE) / LOG_PAGE / 8;
  const { fd: logFd, mapping: log } = b.os.createMemory('log', size);
  const ring = b.ring(0);
  const { INBAND_NOTIFICATIONS, BACKEND_REQ, REPLY_ACK, LOG_SHMFD } = PROTOCOL_F;
  const said: [request: number, payload: Uint8Array, fds: readonly number[]][] = [
    [REQUEST.VRING_KICK, state(0), []],
    [REQUEST.SET_VRING_ENABLE, state(0, 1), []],
    [
      REQUEST.SET_VRING_ADDR,
      ring.addressesWith({ flags: VHOST_VRING_F_LOG, log: ring.queue.deviceArea }),
      [],
    ],
    [REQUEST.SET_VRING_NUM, state(0, ring.queue.size), []],
    [REQUEST.SET_LOG_BASE, encodeLog({ size, offset: 0 }), [logFd]],
    [REQUEST.SET_MEM_TABLE, b.memoryTable(), [b.memoryFd]],
    [REQUEST.SET_FEATURES, encodeU64(F_PROTOCOL_FEATURES | VHOST_F_LOG_ALL), []],
    [
      REQUEST.SET_PROTOCOL_FEATURES,
      encodeU64(INBAND_NOTIFICATIONS | BACKEND_REQ | REPLY_ACK | LOG_SHMFD),
      [],
    ],
  ];
  const kept: KeptItem[] = said.map(([request, payload, fds]) => {
    const message = { request, flags: 1, payload: new DataView(payload.slice().buffer), fds: [] };
    const key = notesOf(message, false).keep;
    assert.ok(key !== undefined, `${request}`);
    return { key, bytes: encodeMessage(request, 0, payload), fds: fds.map((fd) => b.os.duplicate(fd)) };
  });
  assert.equal(ordered(kept)[0]!.key, 'protocol');
  const keep: Keep = { kept, settle: () => {} };
  const device = new ProbeDevice(1);
  const next = new Bench(device, undefined, true, { os: b.os, keep });
  ring.request(7, false);
  next.say(REQUEST.VRING_KICK, state(0));
  assert.deepEqual(ring.answers(), [7]);
  assert.deepEqual(device.calls, ['activate 0']);
  let marked = 0;
  for (let at = 0; at < log.size; at++) marked += log.view.takeByte!(at) === 0 ? 0 : 1;
  assert.ok(marked > 0);
  assert.deepEqual(next.warnings, []);
  next.close();
  b.os.closeFd(logFd);
  log.release();
  b.close();
  assert.equal(b.os.openFds, 0);
  assert.equal(b.os.openMappings, 0);
});

for (const layout of ['split', 'packed'] as const) {
  test(`a process that died may have written to a ${layout} ring and not marked it: the next one marks all that devices write there`, () => {
    const b = new Bench(new ProbeDevice(1), ALL_RING_FEATURES, true, { mortal: true });
    b.negotiate(F_PROTOCOL_FEATURES | (layout === 'packed' ? VIRTIO_F_RING_PACKED : 0n) | VHOST_F_LOG_ALL);
    b.say(REQUEST.SET_PROTOCOL_FEATURES, encodeU64(PROTOCOL_F.LOG_SHMFD));
    const size = (GUEST_START + MEMORY_SIZE) / LOG_PAGE / 8;
    const { fd, mapping: log } = b.os.createMemory('log', size);
    b.say(REQUEST.SET_LOG_BASE, encodeLog({ size, offset: 0 }), { fds: [fd] });
    const ring = layout === 'packed' ? b.packedRing(0, 1024) : b.ring(0, 1024);
    ring.start(layout === 'packed' ? { base: 0x8000_8000 } : {});
    b.say(
      REQUEST.SET_VRING_ADDR,
      ring.addressesWith({ flags: VHOST_VRING_F_LOG, log: ring.queue.deviceArea }),
    );
    ring.enable();
    ring.request(7);
    assert.deepEqual(ring.answers(), [7]);
    // Somebody has copied these.
    for (let at = 0; at < size; at++) log.view.takeByte!(at);
    b.restart(new ProbeDevice(1));
    const first = layout === 'packed' ? ring.queue.descriptorArea : ring.queue.deviceArea;
    const length = layout === 'packed' ? 16 * 1024 : 6 + 8 * 1024;
    const marks = Array.from({ length: size }, (_, at) => log.view.takeByte!(at));
    for (let page = Math.floor(first / LOG_PAGE); page * LOG_PAGE < first + length; page++) {
      assert.ok((marks[page >> 3]! & (1 << (page & 7))) !== 0, `page ${page}`);
    }
    b.session.close();
    b.os.closeFd(fd);
    log.release();
    b.close();
  });
}

for (const layout of ['split', 'packed'] as const) {
  for (const region of ["the front-end's", 'our own'] as const) {
    test(`a process dies between a ring's SET_VRING_ENABLE 0 and its GET_VRING_BASE, as QEMU stops it: the next one finishes what is in flight, and stops it there (${layout}, ${region} record)`, () => {
      const first = new ProbeDevice(1);
      const b = new Bench(first, ALL_RING_FEATURES, false, { mortal: true });
      b.negotiate(F_PROTOCOL_FEATURES | (layout === 'packed' ? VIRTIO_F_RING_PACKED : 0n));
      b.say(REQUEST.SET_PROTOCOL_FEATURES, encodeU64(PROTOCOL_F.INFLIGHT_SHMFD));
      if (region === "the front-end's") {
        b.frontend.kept = [];
        const wanted = encodeInflight({ mmapSize: 0, mmapOffset: 0, queues: 1, queueSize: 8 });
        b.say(REQUEST.GET_INFLIGHT_FD, wanted);
        const description = decodeInflight(b.frontend.take(REQUEST.GET_INFLIGHT_FD));
        const fds = b.frontend.kept;
        b.frontend.kept = undefined;
        b.say(REQUEST.SET_INFLIGHT_FD, encodeInflight(description), { fds });
        for (const fd of fds) b.os.closeFd(fd);
      }
      const ring = layout === 'packed' ? b.packedRing(0, 8) : b.ring(0);
      const fresh = layout === 'packed' ? 0x8000_8000 : 0;
      ring.start({ base: fresh });
      ring.enable();
      ring.request(1);
      assert.deepEqual(ring.answers(), [1]);
      first.hold = true;
      ring.request(2);
      ring.enable(false);
      // Nobody has to look at what comes from now on.
      ring.request(3);
      const second = new ProbeDevice(1);
      second.hold = true;
      b.restart(second);
      // While all is answered in order, what was taken is as good as what was not.
      const taken = region === "the front-end's";
      assert.equal(second.held, taken ? 1 : 0);
      const third = new ProbeDevice(1);
      third.hold = true;
      if (taken) {
        ring.stop();
        // It dies once more, while it waits for the answer.
        b.restart(third);
        assert.equal(third.held, 1);
        assert.throws(() => ring.takeBase());
        third.finish();
        b.os.run();
        assert.deepEqual(ring.answers(), [2]);
      } else {
        b.restart(third);
        ring.stop();
      }
      const base = ring.takeBase();
      const [before, after] = layout === 'packed' ? [0x8002_8002, 0x8004_8004] : [1, 2];
      assert.equal(base, taken ? after : before);
      third.hold = false;
      ring.start({ base });
      ring.enable();
      assert.deepEqual(ring.answers(), taken ? [3] : [2, 3]);
      b.close();
      b.mortal!.close();
      assert.equal(b.os.openFds, 0);
      assert.equal(b.os.openMappings, 0);
      assert.deepEqual(b.warnings, []);
    });
  }
}

function counting(): Bench {
  const bench = new Bench(new CountingDevice(1), undefined, false, { mortal: true });
  bench.negotiate();
  return bench;
}

function end(bench: Bench): void {
  bench.close();
  bench.mortal!.close();
  assert.equal(bench.os.openFds, 0);
  assert.equal(bench.os.openMappings, 0);
  assert.deepEqual(bench.warnings, []);
}

test('durable memory outlives a process, and the clock of the device goes on, standing still while the guest does', () => {
  const bench = counting();
  const ring = bench.ring(0);
  ring.start();
  ring.enable();
  ring.request(0);
  ring.request(0);
  bench.clock.advance(5);
  assert.deepEqual(ring.answers(), [1, 2]);
  assert.ok(bench.mortal!.keys.includes('durable/count'));
  const second = new CountingDevice(1);
  bench.restart(second);
  ring.request(0);
  assert.deepEqual(ring.answers(), [3]);
  assert.equal(second.memory!.found, true);
  assert.equal(second.host!.clock.now(), 5);
  // The guest is paused, the process dies, and the guest goes on.
  ring.stop();
  const base = ring.takeBase();
  bench.clock.advance(100);
  const third = new CountingDevice(1);
  bench.restart(third);
  bench.clock.advance(100);
  ring.start({ base });
  ring.request(0);
  assert.deepEqual(ring.answers(), [4]);
  assert.equal(third.host!.clock.now(), 5);
  assert.deepEqual(
    [second, third].map(({ calls }) => calls),
    [['activate 0', 'reset', 'close'], ['activate 0']],
  );
  end(bench);
});

for (const [how, reset] of [
  ['that is said', (b: Bench) => b.say(REQUEST.RESET_DEVICE)],
  ['of which the ring at its beginning tells', () => {}],
] as const) {
  for (const dies of ['before', 'after', 'never']) {
    test(`durable memory ends with a reset ${how}; the process dies ${dies} it`, () => {
      const bench = counting();
      const ring = bench.ring(0);
      ring.start();
      ring.enable();
      ring.request(0);
      ring.stop();
      ring.takeBase();
      if (dies === 'before') bench.restart(new CountingDevice(1));
      reset(bench);
      if (dies === 'after') bench.restart(new CountingDevice(1));
      const next = bench.ring(0);
      next.start();
      next.enable();
      next.request(0);
      assert.deepEqual(next.answers(), [1]);
      assert.ok(bench.mortal!.keys.includes('durable/count'));
      bench.restart(new CountingDevice(1));
      next.request(0);
      assert.deepEqual(next.answers(), [2]);
      end(bench);
    });
  }
}

test('other features, after the process died under a guest that stood still, are those of another driver', () => {
  const bench = counting();
  const ring = bench.ring(0);
  ring.start();
  ring.enable();
  ring.request(0);
  ring.stop();
  const base = ring.takeBase();
  bench.restart(new CountingDevice(1));
  bench.say(REQUEST.SET_FEATURES, encodeU64(F_PROTOCOL_FEATURES | 1n));
  ring.start({ base });
  ring.enable();
  ring.request(0);
  assert.deepEqual(ring.answers(), [1, 1]);
  end(bench);
});

test('what is in flight is on record while a ring runs, in whichever process, and let go with the message that stops it', () => {
  const bench = counting();
  const isKept = (): boolean => bench.mortal!.keys.includes('ring/0/inflight');
  const ring = bench.ring(0);
  assert.equal(isKept(), false);
  ring.start();
  ring.enable();
  ring.request(0);
  assert.equal(isKept(), true);
  bench.restart(new CountingDevice(1));
  ring.request(0);
  assert.equal(isKept(), true);
  const before = bench.mortal!.settles;
  ring.stop();
  const base = ring.takeBase();
  assert.equal(isKept(), false);
  assert.equal(bench.mortal!.settles, before + 1);
  bench.restart(new CountingDevice(1));
  ring.start({ base });
  ring.enable();
  ring.request(0);
  assert.equal(isKept(), true);
  bench.say(REQUEST.RESET_DEVICE);
  assert.equal(isKept(), false);
  end(bench);
});
