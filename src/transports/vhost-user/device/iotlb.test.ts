import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FrontendAddress, GuestAddress } from '../../../memory/address.js';
import { ACCESS_READ, ACCESS_WRITE } from '../../../memory/translated-memory.js';
import { ALL_RING_FEATURES, VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_VERSION_1 } from '../../../virtio/features.js';
import { Decoder, encodeMessage, type Message } from '../codec.js';
import { decodeIotlb, encodeIotlb, type IotlbMessage } from '../iotlb-message.js';
import {
  BACKEND_REQUEST,
  F_PROTOCOL_FEATURES,
  FLAGS,
  IOTLB_TYPE,
  PROTOCOL_F,
  REQUEST,
  VHOST_F_LOG_ALL,
  VHOST_VRING_F_LOG,
} from '../messages.js';
import { LOG_PAGE, PageLog } from '../page-log.js';
import {
  encodeConfig,
  encodeLog,
  encodeRegions,
  encodeU64,
  encodeVringAddress,
  encodeVringState,
} from '../payloads.js';
import { Bench, type BenchRing, GUEST_START, MEMORY_SIZE, USER_START } from '../testing/bench.js';
import { ProbeDevice } from '../testing/probe-device.js';

const BOTH = ACCESS_READ | ACCESS_WRITE;
/** What the memory's region says of itself, which is of no use with an IOMMU. */
const ELSEWHERE = 0x80_0000_0000 as GuestAddress;
const FEATURES = F_PROTOCOL_FEATURES | VIRTIO_F_VERSION_1 | VIRTIO_F_ACCESS_PLATFORM;

/** Rings are before, and these on pages of their own. */
const RINGS = 0x10000;
const READ = (GUEST_START + 0x20000) as GuestAddress;
const WRITE = (GUEST_START + 0x30000) as GuestAddress;

/** A device behind an IOMMU: a driver whose addresses are GUEST_START and what follows, and a front-end that is asked what they mean. */
class IommuBench {
  readonly b: Bench;
  readonly device: ProbeDevice = new ProbeDevice(2);
  /** Misses that were not answered, oldest first. */
  readonly misses: IotlbMessage[] = [];
  readonly #channel: ReturnType<Bench['os']['createChannel']>['channel'] | undefined;

  constructor({ channel = true } = {}) {
    this.b = new Bench(this.device, ALL_RING_FEATURES);
    const { b } = this;
    b.say(REQUEST.SET_PROTOCOL_FEATURES, encodeU64(PROTOCOL_F.BACKEND_REQ | PROTOCOL_F.REPLY_ACK));
    if (channel) {
      const made = b.os.createChannel();
      this.#channel = made.channel;
      assert.equal(b.ask(REQUEST.SET_BACKEND_REQ_FD, undefined, [made.fd]), 0n);
      b.os.closeFd(made.fd);
      const decoder = new Decoder();
      made.channel.receive({
        received: (bytes, fds) => {
          decoder.push(bytes, fds);
          for (let m = decoder.next(); m !== undefined; m = decoder.next()) this.#heard(m);
        },
        closed: () => {},
      });
    }
    b.say(REQUEST.SET_FEATURES, encodeU64(FEATURES));
    this.share();
  }

  share(): void {
    const region = { guestAddress: ELSEWHERE, size: MEMORY_SIZE, userAddress: USER_START, mmapOffset: 0 };
    this.b.say(REQUEST.SET_MEM_TABLE, encodeRegions([region]), { fds: [this.b.memoryFd] });
  }

  /** The u64 of the answer: 0 for what was done. */
  tell(type: number, iova: number, size: number, access = BOTH, offset = iova - GUEST_START): bigint {
    return this.b.ask(
      REQUEST.IOTLB_MSG,
      encodeIotlb({ type, iova, size, userAddress: USER_START + offset, access }),
    );
  }

  /** Translates a part of the driver's memory to where it is, or `offset` bytes from the start of all. */
  map(iova: number, size: number, access = BOTH, offset = iova - GUEST_START): void {
    assert.equal(this.tell(IOTLB_TYPE.UPDATE, iova, size, access, offset), 0n);
  }

  mapAll(): void {
    this.map(GUEST_START, MEMORY_SIZE);
  }

  /** Sends a request of a byte that is read here and one that is written there. */
  send(ring: BenchRing, byte: number, read: GuestAddress = READ, write: GuestAddress = WRITE): void {
    this.b.memory.write(read, Uint8Array.of(byte));
    ring.queue.add([{ address: read, length: 1 }], [{ address: write, length: 1 }], write);
    ring.queue.publish();
    ring.kick.signal();
    this.b.os.run();
  }

  /** Answers the oldest miss. */
  answer(done: boolean): IotlbMessage {
    const miss = this.misses.shift();
    assert.ok(miss !== undefined, 'something was asked for');
    this.#channel!.send(encodeMessage(BACKEND_REQUEST.IOTLB_MSG, FLAGS.REPLY, encodeU64(done ? 0n : 1n)));
    this.b.os.run();
    return miss;
  }

  /** As `BenchRing.start` and `enable`, with addresses as the driver has them. */
  start(ring: BenchRing): void {
    const { index, queue } = ring;
    const { b } = this;
    b.say(REQUEST.SET_VRING_NUM, encodeVringState({ index, num: queue.size }));
    b.say(REQUEST.SET_VRING_BASE, encodeVringState({ index, num: 0 }));
    const raw = (address: GuestAddress) => address as number as FrontendAddress;
    const addresses = {
      index,
      flags: 0,
      descriptor: raw(queue.descriptorArea),
      available: raw(queue.driverArea),
      used: raw(queue.deviceArea),
      log: 0 as GuestAddress,
    };
    b.say(REQUEST.SET_VRING_ADDR, encodeVringAddress(addresses));
    b.say(REQUEST.SET_VRING_KICK, encodeU64(BigInt(index)), { fds: [ring.kick.fd] });
    b.say(REQUEST.SET_VRING_CALL, encodeU64(BigInt(index)), { fds: [ring.call.fd] });
    b.say(REQUEST.SET_VRING_ERR, encodeU64(BigInt(index)), { fds: [ring.err.fd] });
    ring.enable();
  }

  /** A ring that is served. */
  running(index = 0): BenchRing {
    const ring = this.b.ring(index);
    this.map(GUEST_START, RINGS);
    this.start(ring);
    return ring;
  }

  finish(): void {
    const { b } = this;
    this.#channel?.close();
    b.close();
    assert.equal(b.os.openFds, 0);
    assert.equal(b.os.openMappings, 0);
    assert.equal(b.os.staleAccesses, 0);
    assert.equal(b.clock.open, 0);
  }

  #heard({ request, flags, payload }: Message): void {
    assert.deepEqual([request, flags], [BACKEND_REQUEST.IOTLB_MSG, FLAGS.VERSION | FLAGS.NEED_REPLY]);
    assert.equal(payload.byteLength, 32);
    this.misses.push(decodeIotlb(payload));
  }
}

test('vu-iommu: a ring starts when the front-end has said where it is, and meanwhile everything else goes on', () => {
  const bench = new IommuBench();
  const { b, device } = bench;
  const ring = b.ring(0);
  ring.queue.add([{ address: READ, length: 1 }], [{ address: WRITE, length: 1 }], WRITE);
  ring.queue.publish();
  b.memory.write(READ, Uint8Array.of(1));
  bench.start(ring);
  const { descriptorArea, driverArea, deviceArea } = ring.queue;
  const wanted = [
    [descriptorArea, 128, ACCESS_READ],
    [driverArea, 22, ACCESS_READ],
    [deviceArea, 70, BOTH],
    [READ, 1, ACCESS_READ],
    [WRITE, 1, ACCESS_WRITE],
  ] as const;
  for (let served = 0; served < wanted.length; served++) {
    // One at a time, and nobody waits for it.
    assert.equal(bench.misses.length, 1);
    b.say(REQUEST.GET_FEATURES);
    b.frontend.takeU64(REQUEST.GET_FEATURES);
    assert.deepEqual(device.calls, served < 3 ? [] : ['activate 0']);
    assert.deepEqual(ring.answers(), []);
    const { type, iova, size, userAddress, access } = bench.misses[0]!;
    assert.deepEqual([type, size, userAddress], [IOTLB_TYPE.MISS, 0, 0]);
    const range = wanted.find(([address]) => address === iova)!;
    assert.equal(access, range[2]);
    bench.map(iova, range[1], access);
    bench.answer(true);
  }
  assert.deepEqual(ring.answers(), [1]);
  assert.equal(bench.misses.length, 0);
  assert.deepEqual(b.warnings, []);
  bench.finish();
});

test('vu-iommu: an update may come after the answer to what was asked, which is on another socket', () => {
  const bench = new IommuBench();
  const ring = bench.running();
  bench.send(ring, 7);
  assert.deepEqual([bench.answer(true).iova, bench.misses.length], [READ, 1]);
  // It is asked for once more, behind what else was asked for.
  bench.map(READ, 4096);
  bench.map(WRITE, 4096);
  assert.deepEqual(ring.answers(), [7]);
  while (bench.misses.length > 0) bench.answer(true);
  bench.send(ring, 8);
  assert.deepEqual(ring.answers(), [8]);
  assert.deepEqual(bench.b.warnings, []);
  bench.finish();
});

test('vu-iommu: what is taken back between an update and the answer is asked for once more, however often', () => {
  const bench = new IommuBench();
  const ring = bench.running();
  bench.send(ring, 7);
  // Misses are answered one at a time: that of where it writes comes after.
  for (let times = 0; times < 12; times++) {
    bench.map(READ, 4096);
    assert.equal(bench.tell(IOTLB_TYPE.INVALIDATE, READ, 4096), 0n);
    bench.answer(true);
    assert.deepEqual(bench.b.warnings, []);
  }
  bench.map(READ, 4096);
  bench.map(WRITE, 4096);
  while (bench.misses.length > 0) bench.answer(true);
  assert.deepEqual(bench.b.warnings, []);
  assert.deepEqual(ring.answers(), [7]);
  bench.finish();
});

test('vu-iommu: what was refused when nobody wanted it any more is asked for again', () => {
  const bench = new IommuBench();
  const { b } = bench;
  const ring = bench.running();
  bench.send(ring, 7);
  assert.equal(bench.misses.length, 1);
  b.ask(REQUEST.GET_VRING_BASE, encodeVringState({ index: 0, num: 0 }));
  assert.equal(bench.answer(false).iova, READ);
  assert.deepEqual(b.warnings, []);
  bench.start(ring);
  b.os.run();
  assert.equal(bench.misses.length, 1);
  bench.map(READ, 4096);
  bench.map(WRITE, 4096);
  while (bench.misses.length > 0) bench.answer(true);
  assert.deepEqual(ring.answers(), [7]);
  assert.deepEqual(b.warnings, []);
  bench.finish();
});

test('vu-iommu: an address that the front-end refuses, or knows nothing of, breaks its queue alone, until a reset', () => {
  for (const says of [false, true]) {
    const bench = new IommuBench();
    const { b } = bench;
    const ring = bench.running(0);
    const other = bench.running(1);
    const bad = 0x7777_0000 as GuestAddress;
    ring.queue.add([{ address: bad, length: 4 }], [], 0);
    ring.queue.publish();
    ring.kick.signal();
    b.os.run();
    // One that says that it is done, and said nothing before, is asked twice.
    for (let times = says ? 2 : 1; times > 0; times--) assert.equal(bench.answer(says).iova, bad);
    assert.equal(bench.misses.length, 0);
    assert.match(
      b.warnings[0]!,
      /queue 0 \(q0\) is broken until reset: 0x77770000 is not translated to memory that may be read/,
    );
    assert.equal(b.warnings.length, 1);
    assert.equal(ring.err.signals, 1);
    bench.mapAll();
    bench.send(other, 2);
    assert.deepEqual(other.answers(), [2]);
    assert.equal(b.ask(REQUEST.RESET_DEVICE), 0n);
    const fresh = b.ring(0);
    bench.start(fresh);
    bench.send(fresh, 3);
    assert.deepEqual(fresh.answers(), [3]);
    bench.finish();
  }
});

test('vu-iommu: without a channel to ask on, what was not said is not there', () => {
  const bench = new IommuBench({ channel: false });
  const ring = bench.running();
  bench.mapAll();
  bench.send(ring, 1);
  assert.deepEqual(ring.answers(), [1]);
  ring.queue.add([{ address: 0x7777_0000 as GuestAddress, length: 4 }], [], 0);
  ring.queue.publish();
  ring.kick.signal();
  bench.b.os.run();
  assert.match(bench.b.warnings[0]!, /0x77770000 is not translated/);
  const other = bench.b.ring(1);
  assert.equal(bench.tell(IOTLB_TYPE.INVALIDATE, 0, 0), 0n);
  bench.start(other);
  assert.match(bench.b.warnings.at(-1)!, /queue 1 .* is not translated/);
  bench.finish();
});

test('vu-iommu: what is taken back is left alone before that is acknowledged, and the answer goes where it is said to be then', () => {
  const bench = new IommuBench();
  const { b, device } = bench;
  const ring = bench.running();
  const half = MEMORY_SIZE / 2;
  bench.map(GUEST_START, half);
  device.hold = true;
  device.early = true;
  bench.send(ring, 5, READ, WRITE);
  bench.send(ring, 6, READ, (WRITE + 1) as GuestAddress);
  assert.equal(device.held, 2);
  const before = b.memory.view(GUEST_START, MEMORY_SIZE);
  const image = new Uint8Array(MEMORY_SIZE);
  before.copyOut(0, image, 0, MEMORY_SIZE);
  assert.equal(bench.tell(IOTLB_TYPE.INVALIDATE, 0, 0), 0n);
  // The same bytes are elsewhere from now on; the old place keeps what it has.
  b.memory.write((GUEST_START + half) as GuestAddress, image, 0, half);
  device.finish();
  b.os.run();
  const after = new Uint8Array(half);
  before.copyOut(0, after, 0, half);
  assert.deepEqual(after, image.subarray(0, half));
  const calls = ring.call.signals;
  assert.ok(bench.misses.length > 0);
  bench.map(GUEST_START, half, BOTH, half);
  before.copyOut(0, after, 0, half);
  assert.deepEqual(after, image.subarray(0, half));
  assert.equal(ring.call.signals, calls + 1);
  // Where the driver would find them, had it moved.
  const moved = new Uint8Array(half);
  before.copyOut(half, moved, 0, half);
  b.memory.write(GUEST_START, moved);
  assert.deepEqual(ring.answers().sort(), [5, 6]);
  assert.deepEqual(b.warnings, []);
  bench.finish();
});

test('vu-iommu: a request that has to be read again after that is served anew', () => {
  const bench = new IommuBench();
  const { b, device } = bench;
  const ring = bench.running();
  bench.mapAll();
  device.hold = true;
  bench.send(ring, 5);
  assert.equal(bench.tell(IOTLB_TYPE.INVALIDATE, READ, 4096), 0n);
  device.configWritten = () => device.finish();
  device.hold = false;
  const access = { offset: 4, size: 1, flags: 0, bytes: new Uint8Array(1) };
  assert.equal(b.ask(REQUEST.SET_CONFIG, encodeConfig(access)), 0n);
  assert.deepEqual(ring.answers(), []);
  bench.mapAll();
  assert.deepEqual(ring.answers(), [5]);
  while (bench.misses.length > 0) bench.answer(true);
  assert.deepEqual(b.warnings, []);
  bench.finish();
});

test('vu-iommu: what is never said again of a request that the device holds breaks its queue; others go on', () => {
  const bench = new IommuBench();
  const { b, device } = bench;
  const ring = bench.running(0);
  const other = bench.running(1);
  bench.mapAll();
  device.hold = true;
  device.early = true;
  bench.send(ring, 5);
  device.hold = false;
  assert.equal(bench.tell(IOTLB_TYPE.INVALIDATE, WRITE, 4096), 0n);
  assert.equal(bench.answer(false).access, ACCESS_WRITE);
  assert.match(b.warnings[0]!, /queue 0 \(q0\) is broken until reset: 0x40030000 is not translated/);
  device.finish();
  bench.send(other, 2, READ, (WRITE + 0x10000) as GuestAddress);
  assert.deepEqual([ring.answers(), other.answers()], [[], [2]]);
  assert.deepEqual([b.warnings.length, bench.misses.length, b.ended], [1, 0, undefined]);
  bench.finish();
});

test('vu-iommu: memory that may only be read is not written, nor read what may only be written', () => {
  for (const [read, write, missing] of [
    [ACCESS_READ, ACCESS_READ, ACCESS_WRITE],
    [ACCESS_WRITE, ACCESS_WRITE, ACCESS_READ],
  ] as const) {
    const bench = new IommuBench();
    const ring = bench.running();
    bench.map(READ, 4096, read);
    bench.map(WRITE, 4096, write);
    bench.send(ring, 9);
    assert.equal(bench.answer(false).access, missing);
    assert.match(bench.b.warnings[0]!, /is not translated to memory that may be (read|written)/);
    assert.deepEqual(ring.answers(), []);
    bench.finish();
  }
});

test('vu-iommu: an IOTLB message that can not be is refused, and nothing is changed by it', () => {
  const bench = new IommuBench();
  const { b } = bench;
  const ring = bench.running();
  const big = 2 ** 53;
  const refused: [number, number, number, number, number?][] = [
    [IOTLB_TYPE.UPDATE, GUEST_START, 0, BOTH],
    [IOTLB_TYPE.UPDATE, GUEST_START, 4096, 0],
    [IOTLB_TYPE.UPDATE, GUEST_START, 4096, 4],
    [IOTLB_TYPE.UPDATE, GUEST_START, 4096, 255],
    [IOTLB_TYPE.UPDATE, GUEST_START, MEMORY_SIZE + 1, BOTH],
    [IOTLB_TYPE.UPDATE, GUEST_START, 4096, BOTH, MEMORY_SIZE],
    [IOTLB_TYPE.UPDATE, GUEST_START, 4096, BOTH, MEMORY_SIZE - 4095],
    [IOTLB_TYPE.UPDATE, GUEST_START, 4096, BOTH, -1],
    [IOTLB_TYPE.UPDATE, big - 4096, 4096, BOTH, 0],
    [IOTLB_TYPE.INVALIDATE, GUEST_START, 0, 0, 0],
    [IOTLB_TYPE.MISS, GUEST_START, 4096, BOTH],
    [IOTLB_TYPE.ACCESS_FAIL, GUEST_START, 4096, BOTH],
    [0, GUEST_START, 4096, BOTH],
    [255, GUEST_START, 4096, BOTH],
  ];
  for (const [type, iova, size, access, offset] of refused) {
    assert.notEqual(bench.tell(type, iova, size, access, offset), 0n, `${type} ${iova} ${size} ${access}`);
  }
  // Every bit of an address and a size.
  for (const type of [IOTLB_TYPE.UPDATE, IOTLB_TYPE.INVALIDATE]) {
    const wild = encodeIotlb({ type, iova: 0, size: 0, userAddress: 0, access: BOTH });
    wild.fill(0xff, 0, 16);
    const done = b.ask(REQUEST.IOTLB_MSG, wild);
    assert.equal(done === 0n, type === IOTLB_TYPE.INVALIDATE);
  }
  bench.mapAll();
  bench.send(ring, 1);
  assert.deepEqual(ring.answers(), [1]);
  assert.equal(bench.misses.length, 0);
  bench.finish();

  const without = new Bench(new ProbeDevice(1), ALL_RING_FEATURES);
  without.negotiate();
  const update = {
    type: IOTLB_TYPE.UPDATE,
    iova: GUEST_START,
    size: 4096,
    userAddress: USER_START,
    access: 3,
  };
  assert.notEqual(without.ask(REQUEST.IOTLB_MSG, encodeIotlb(update)), 0n);
  without.close();
});

test('vu-iommu: another memory table, or a region less, and what is no more is asked for anew', () => {
  const bench = new IommuBench();
  const { b, device } = bench;
  const ring = bench.running();
  bench.mapAll();
  device.hold = true;
  device.early = true;
  bench.send(ring, 5);
  b.say(REQUEST.SET_MEM_TABLE, encodeRegions([]));
  device.finish();
  assert.ok(bench.misses.length > 0);
  assert.deepEqual(ring.answers(), []);
  bench.share();
  bench.mapAll();
  assert.deepEqual(ring.answers(), [5]);
  while (bench.misses.length > 0) bench.answer(true);
  assert.deepEqual(b.warnings, []);
  bench.finish();
});

test('vu-iommu: a ring that is stopped while it waits has stopped where it would have begun; another device starts without what was said', () => {
  const bench = new IommuBench();
  const { b, device } = bench;
  const ring = b.ring(0);
  bench.start(ring);
  assert.equal(bench.misses.length, 1);
  ring.stop();
  assert.equal(ring.takeBase(), 0);
  // The rest of what it wanted is not asked for any more: a device that stands still says nothing.
  bench.answer(true);
  assert.equal(bench.misses.length, 0);
  bench.mapAll();
  assert.deepEqual(device.calls, []);
  bench.start(ring);
  bench.send(ring, 1);
  assert.deepEqual(ring.answers(), [1]);
  ring.stop();
  ring.takeBase();
  // Without the feature addresses are the front-end's own again.
  b.say(REQUEST.SET_FEATURES, encodeU64(F_PROTOCOL_FEATURES | VIRTIO_F_VERSION_1));
  const plain = b.ring(1);
  b.negotiate(F_PROTOCOL_FEATURES | VIRTIO_F_VERSION_1);
  plain.start();
  plain.enable();
  plain.request(2);
  assert.deepEqual(plain.answers(), [2]);
  bench.finish();
});

test('vu-iommu: what is written is logged where it is in the guest, and a used ring where it is said to be, from when that is said', () => {
  const bench = new IommuBench();
  const { b } = bench;
  const { BACKEND_REQ, REPLY_ACK, LOG_SHMFD } = PROTOCOL_F;
  b.say(REQUEST.SET_PROTOCOL_FEATURES, encodeU64(BACKEND_REQ | REPLY_ACK | LOG_SHMFD));
  const ring = bench.running();
  bench.mapAll();
  bench.send(ring, 1);
  const { fd, mapping } = b.os.createMemory('log', (ELSEWHERE + MEMORY_SIZE) / LOG_PAGE / 8);
  const log = new PageLog(mapping.view);
  b.say(REQUEST.SET_LOG_BASE, encodeLog({ size: mapping.size, offset: 0 }), { fds: [fd] });
  assert.equal(b.frontend.takeU64(REQUEST.SET_LOG_BASE), 0n);
  assert.equal(b.ask(REQUEST.SET_FEATURES, encodeU64(FEATURES | VHOST_F_LOG_ALL)), 0n);
  const answer = ELSEWHERE + (WRITE - GUEST_START);
  log.take();
  bench.send(ring, 2);
  assert.deepEqual(log.take(), [answer]);
  const raw = (address: GuestAddress) => address as number as FrontendAddress;
  const { descriptorArea, driverArea, deviceArea } = ring.queue;
  const addresses = {
    index: 0,
    flags: VHOST_VRING_F_LOG,
    descriptor: raw(descriptorArea),
    available: raw(driverArea),
    used: raw(deviceArea),
    log: (5 * LOG_PAGE) as GuestAddress,
  };
  assert.equal(b.ask(REQUEST.SET_VRING_ADDR, encodeVringAddress(addresses)), 0n);
  bench.send(ring, 3);
  assert.deepEqual(log.take(), [5 * LOG_PAGE, answer]);
  assert.equal(b.ask(REQUEST.SET_FEATURES, encodeU64(FEATURES)), 0n);
  bench.send(ring, 4);
  assert.deepEqual(log.take(), []);
  assert.deepEqual(b.warnings, []);
  mapping.release();
  b.os.closeFd(fd);
  bench.finish();
});
