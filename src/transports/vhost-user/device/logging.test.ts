import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ALL_RING_FEATURES, VIRTIO_F_EVENT_IDX, VIRTIO_F_RING_PACKED } from '../../../virtio/features.js';
import type { Mapping } from '../../ports.js';
import { F_PROTOCOL_FEATURES, PROTOCOL_F, REQUEST, VHOST_F_LOG_ALL, VHOST_VRING_F_LOG } from '../messages.js';
import { LOG_PAGE } from '../page-log.js';
import { encodeLog, encodeRegion, encodeRegions, encodeU64 } from '../payloads.js';
import { Bench, type BenchRing, GUEST_START, MEMORY_SIZE, USER_START } from '../testing/bench.js';
import { ProbeDevice } from '../testing/probe-device.js';

/** Bytes of a log that just covers the bench's memory. */
const LOG_SIZE = (GUEST_START + MEMORY_SIZE) / LOG_PAGE / 8;

interface Logged {
  readonly b: Bench;
  readonly device: ProbeDevice;
  readonly features: bigint;
  readonly log: Mapping;
  readonly logFd: number;
}

/** A bench with a log of so many bytes that the back-end does not know of yet. */
function bench(features: bigint = F_PROTOCOL_FEATURES, size = LOG_SIZE): Logged {
  const device = new ProbeDevice(2);
  const b = new Bench(device, ALL_RING_FEATURES);
  b.negotiate(features);
  b.say(REQUEST.SET_PROTOCOL_FEATURES, encodeU64(PROTOCOL_F.LOG_SHMFD | PROTOCOL_F.REPLY_ACK));
  const { fd: logFd, mapping: log } = b.os.createMemory('log', size);
  return { b, device, features, log, logFd };
}

/** SET_LOG_BASE. @returns the answer, which comes unasked. */
function setLog({ b, logFd }: Logged, size = LOG_SIZE, offset = 0): bigint {
  b.say(REQUEST.SET_LOG_BASE, encodeLog({ size, offset }), { fds: [logFd] });
  return b.frontend.takeU64(REQUEST.SET_LOG_BASE);
}

function setFeatures({ b, features }: Logged, on: boolean): void {
  const answer = b.ask(REQUEST.SET_FEATURES, encodeU64(on ? features | VHOST_F_LOG_ALL : features));
  assert.equal(answer, 0n);
}

/** As QEMU starts the log: its base, the features, then each ring's addresses with the flag. */
function startLog(l: Logged, rings: readonly BenchRing[]): void {
  assert.equal(setLog(l), 0n);
  setFeatures(l, true);
  for (const ring of rings) logRing(l, ring, { flags: VHOST_VRING_F_LOG, log: ring.queue.deviceArea });
}

function logRing({ b }: Logged, ring: BenchRing, how: { flags: number; log: number }): void {
  assert.equal(b.ask(REQUEST.SET_VRING_ADDR, ring.addressesWith(how)), 0n);
}

/** The pages that are marked, taken. */
function marked({ log }: Pick<Logged, 'log'>): number[] {
  const pages: number[] = [];
  for (let at = 0; at < log.size; at++) {
    const bits = log.view.takeByte!(at);
    for (let bit = 0; bit < 8; bit++) if ((bits >> bit) & 1) pages.push(8 * at + bit);
  }
  return pages;
}

const pageOf = (address: number): number => Math.floor(address / LOG_PAGE);

function contents({ b }: Logged): Uint8Array {
  const bytes = new Uint8Array(MEMORY_SIZE);
  b.memory.read(GUEST_START, bytes);
  return bytes;
}

function changed(before: Uint8Array, after: Uint8Array): number[] {
  const pages = new Set<number>();
  for (let i = 0; i < before.length; i++) {
    if (before[i] !== after[i]) pages.add(pageOf(GUEST_START + i));
  }
  return [...pages];
}

/** Has what is allocated next lie in a page of its own. */
function nextPage({ allocator }: Bench): void {
  const first = pageOf(allocator.alloc(1).address);
  while (pageOf(allocator.alloc(1).address) === first);
}

function finish(l: Logged): void {
  assert.equal(l.b.ended, undefined);
  l.b.os.closeFd(l.logFd);
  l.log.release();
  l.b.close();
  assert.equal(l.b.os.openFds, 0);
  assert.equal(l.b.os.openMappings, 0);
  assert.equal(l.b.os.staleAccesses, 0);
}

for (const [name, bits] of [
  ['split', 0n],
  ['split, EVENT_IDX', VIRTIO_F_EVENT_IDX],
  ['packed', VIRTIO_F_RING_PACKED],
  ['packed, EVENT_IDX', VIRTIO_F_RING_PACKED | VIRTIO_F_EVENT_IDX],
] as const) {
  test(`vhost-user Migration: LOG_SHMFD, ${name}: every page that changes is marked, and none that the device does not write`, () => {
    const l = bench(F_PROTOCOL_FEATURES | bits);
    const { b, device } = l;
    const packed = (bits & VIRTIO_F_RING_PACKED) !== 0n;
    const rings = [0, 1].map((i) => (packed ? b.packedRing(i, 8) : b.ring(i, 8)));
    for (const ring of rings) {
      ring.start(packed ? { base: 0x8000_8000 } : {});
      ring.enable();
    }
    rings[0]!.request(1);
    assert.deepEqual(rings[0]!.answers(), [1]);
    nextPage(b);
    startLog(l, rings);
    marked(l);
    const allowed = new Set<number>();
    for (const { queue } of rings) {
      allowed.add(pageOf(queue.deviceArea));
      if (packed) allowed.add(pageOf(queue.descriptorArea));
    }
    let all = 0;
    for (let i = 0; i < 40; i++) {
      const ring = rings[i % 2]!;
      device.hold = i % 3 === 0;
      // Each request's two bytes in pages of their own.
      nextPage(b);
      ring.request(i, false);
      const before = contents(l);
      ring.kick.signal();
      b.os.run();
      device.finish();
      b.os.run();
      const pages = marked(l);
      for (const page of changed(before, contents(l))) assert.ok(pages.includes(page), `page ${page}`);
      const extra = pages.filter((page) => !allowed.has(page));
      assert.ok(extra.length <= 1, 'rings, and the page of the answer');
      all += extra.length;
      assert.deepEqual(ring.answers(), [i]);
    }
    assert.equal(all, 40);
    finish(l);
  });
}

test('vhost-user Migration: F_LOG_ALL comes and goes while rings work, and nothing is marked while it is off', () => {
  const l = bench();
  const { b } = l;
  const ring = b.ring(0);
  ring.start();
  ring.enable();
  startLog(l, [ring]);
  for (let i = 0; i < 20; i++) {
    const on = i % 2 === 0;
    setFeatures(l, on);
    logRing(l, ring, { flags: on ? VHOST_VRING_F_LOG : 0, log: on ? ring.queue.deviceArea : 0 });
    marked(l);
    ring.request(i);
    assert.deepEqual(ring.answers(), [i]);
    assert.equal(marked(l).length > 0, on);
  }
  assert.deepEqual(b.warnings, []);
  finish(l);
});

test('SET_FEATURES with F_LOG_ALL before there is a log: it counts from SET_LOG_BASE on, as when QEMU starts a device while it migrates', () => {
  const l = bench();
  const { b } = l;
  setFeatures(l, true);
  const ring = b.ring(0);
  ring.start();
  logRing(l, ring, { flags: VHOST_VRING_F_LOG, log: ring.queue.deviceArea });
  assert.equal(setLog(l), 0n);
  ring.enable();
  ring.request(1);
  assert.ok(marked(l).includes(pageOf(ring.queue.deviceArea)));
  finish(l);
});

test('SET_VRING_ADDR: without VHOST_VRING_F_LOG the used ring is not marked, with it at the address that it says', () => {
  const l = bench();
  const { b } = l;
  const ring = b.ring(0);
  ring.start();
  ring.enable();
  assert.equal(setLog(l), 0n);
  setFeatures(l, true);
  // The answer's page, and nothing else.
  nextPage(b);
  ring.request(1);
  const [page, ...more] = marked(l);
  assert.deepEqual(more, []);
  assert.notEqual(page, pageOf(ring.queue.deviceArea));
  // The index, bytes 2 and 3, is where a page begins; then its first byte is the last one of the page before.
  logRing(l, ring, { flags: VHOST_VRING_F_LOG, log: 3 * LOG_PAGE - 2 });
  ring.request(2);
  assert.deepEqual(marked(l).slice(0, -1), [2, 3], 'the flags, and all behind them');
  logRing(l, ring, { flags: VHOST_VRING_F_LOG, log: 3 * LOG_PAGE - 3 });
  ring.request(3);
  assert.deepEqual(marked(l).slice(0, -1), [2, 3]);
  assert.deepEqual(b.warnings, []);
  finish(l);
});

test('SET_LOG_BASE: a log at an offset of its file, and another one in its place', () => {
  const l = bench(F_PROTOCOL_FEATURES, 2 * LOG_SIZE);
  const { b, log } = l;
  const ring = b.ring(0);
  ring.start();
  ring.enable();
  assert.equal(setLog(l, LOG_SIZE, LOG_SIZE), 0n);
  setFeatures(l, true);
  ring.request(1);
  const pages = marked(l);
  assert.deepEqual(
    pages.map((page) => page >= 8 * LOG_SIZE),
    pages.map(() => true),
  );
  assert.ok(pages.length > 0);
  assert.equal(setLog(l), 0n);
  ring.request(2);
  const again = marked(l);
  assert.ok(again.length > 0 && again.every((page) => page < 8 * LOG_SIZE));
  assert.equal(log.size, 2 * LOG_SIZE);
  finish(l);
});

test('SET_LOG_BASE: what can not be a log is refused, and the one before goes on', () => {
  const l = bench();
  const { b } = l;
  const ring = b.ring(0);
  ring.start();
  ring.enable();
  startLog(l, [ring]);
  for (const [size, offset, text] of [
    [LOG_SIZE - 1, 0, /a log of 32799 bytes, where the guest's memory ends at 0x40100000, which takes 32800/],
    [0, 0, /a log of 0 bytes from 0 can't be/],
    [LOG_SIZE, 4, /the file is too short/],
    [2 ** 52, 0, /more|short|may share/],
    [Number.MAX_SAFE_INTEGER, 8, /can't be/],
  ] as const) {
    assert.notEqual(setLog(l, size, offset), 0n);
    assert.match(b.warnings.pop()!, text);
  }
  b.say(REQUEST.SET_LOG_BASE, encodeLog({ size: LOG_SIZE, offset: 0 }), { fds: [ring.kick.fd] });
  assert.notEqual(b.frontend.takeU64(REQUEST.SET_LOG_BASE), 0n);
  assert.match(b.warnings.pop()!, /SET_LOG_BASE is refused: no memory/);
  marked(l);
  ring.request(1);
  assert.ok(marked(l).length > 0);
  finish(l);
});

test('SET_LOG_BASE without LOG_SHMFD is refused by name, whatever it carries', () => {
  const device = new ProbeDevice();
  const b = new Bench(device);
  b.say(REQUEST.SET_LOG_BASE, encodeU64(0x7f00_0000_0000n));
  assert.notEqual(b.frontend.takeU64(REQUEST.SET_LOG_BASE), 0n);
  b.say(REQUEST.SET_LOG_BASE, encodeLog({ size: 8, offset: 0 }), { fds: [b.memoryFd] });
  assert.notEqual(b.frontend.takeU64(REQUEST.SET_LOG_BASE), 0n);
  for (const warning of b.warnings) assert.match(warning, /SET_LOG_BASE is refused: a log takes LOG_SHMFD/);
  assert.equal(b.warnings.length, 2);
  b.close();
  assert.equal(b.os.openFds, 0);
});

test('what is written where the log has no bit is said once, and what it has one for is marked', () => {
  const l = bench();
  const { b } = l;
  const ring = b.ring(0);
  ring.start();
  ring.enable();
  startLog(l, [ring]);
  logRing(l, ring, { flags: VHOST_VRING_F_LOG, log: 2 ** 45 });
  marked(l);
  ring.request(1);
  ring.request(2);
  assert.equal(marked(l).length, 1);
  assert.deepEqual(b.warnings, [
    'probe: vhost-user: something is written at 0x200000000000, and the log of dirty pages ends at 0x40100000: it is not marked there',
  ]);
  assert.deepEqual(ring.answers(), [1, 2]);
  finish(l);
});

test('memory that comes while the log is on is logged too', () => {
  const l = bench(F_PROTOCOL_FEATURES, 2 * LOG_SIZE);
  const { b } = l;
  const ring = b.ring(0);
  ring.start();
  ring.enable();
  assert.equal(setLog(l, 2 * LOG_SIZE), 0n);
  setFeatures(l, true);
  b.say(REQUEST.SET_MEM_TABLE, b.memoryTable(), { fds: [b.memoryFd] });
  ring.request(1);
  assert.equal(marked(l).length, 1);
  b.say(REQUEST.SET_MEM_TABLE, encodeRegions([]));
  const region = { guestAddress: GUEST_START, size: MEMORY_SIZE, userAddress: USER_START, mmapOffset: 0 };
  b.say(REQUEST.ADD_MEM_REG, encodeRegion(region), { fds: [b.memoryFd] });
  ring.stop();
  ring.takeBase();
  ring.start({ base: 1 });
  ring.enable();
  ring.request(2);
  assert.equal(marked(l).length, 1);
  finish(l);
});

test('SET_LOG_FD: it is signalled when the log was marked, once for what comes at once; no event is refused', () => {
  const l = bench();
  const { b } = l;
  const event = b.os.createEvent();
  const ring = b.ring(0);
  ring.start();
  ring.enable();
  startLog(l, [ring]);
  assert.equal(b.ask(REQUEST.SET_LOG_FD, undefined, [event.fd]), 0n);
  assert.equal(event.signals, 0);
  ring.request(1);
  assert.equal(event.signals, 1);
  ring.request(2);
  assert.equal(event.signals, 2);
  setFeatures(l, false);
  ring.request(3);
  assert.equal(event.signals, 2);
  assert.notEqual(b.ask(REQUEST.SET_LOG_FD, undefined, [b.memoryFd]), 0n);
  setFeatures(l, true);
  ring.request(4);
  assert.equal(event.signals, 3);
  event.close();
  finish(l);
});

test('SET_LOG_BASE and SET_LOG_FD with no descriptor, too many, or other sizes end the connection', () => {
  const wrong: ((l: Logged) => void)[] = [
    ({ b }) => b.say(REQUEST.SET_LOG_BASE, encodeLog({ size: LOG_SIZE, offset: 0 })),
    ({ b, logFd }) =>
      b.say(REQUEST.SET_LOG_BASE, encodeLog({ size: LOG_SIZE, offset: 0 }), { fds: [logFd, logFd] }),
    ({ b, logFd }) => b.say(REQUEST.SET_LOG_BASE, new Uint8Array(17), { fds: [logFd] }),
    ({ b, logFd }) => b.say(REQUEST.SET_LOG_BASE, new Uint8Array(7), { fds: [logFd] }),
    ({ b }) => b.say(REQUEST.SET_LOG_FD),
    ({ b, logFd }) => b.say(REQUEST.SET_LOG_FD, new Uint8Array(9), { fds: [logFd] }),
  ];
  for (const say of wrong) {
    const l = bench();
    say(l);
    assert.equal(l.b.ended?.error?.name, 'ProtocolError');
    l.b.os.closeFd(l.logFd);
    l.log.release();
    l.b.close();
    assert.equal(l.b.os.openFds, 0);
    assert.equal(l.b.os.openMappings, 0);
  }
});
