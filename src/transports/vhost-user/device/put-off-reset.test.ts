import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ALL_RING_FEATURES, VIRTIO_F_RING_PACKED } from '../../../virtio/features.js';
import { F_PROTOCOL_FEATURES, PROTOCOL_F, REQUEST, STATE_DIRECTION, STATE_PHASE } from '../messages.js';
import { encodeConfig, encodeDeviceState, encodeU64, encodeVringState } from '../payloads.js';
import { Bench, type BenchRing } from '../testing/bench.js';
import { CountingDevice } from '../testing/counting-device.js';

const { STATUS, RESET_DEVICE, CONFIG, DEVICE_STATE } = PROTOCOL_F;

/** Which is saved, and restored. */
class SavedCounting extends CountingDevice {
  save(): Uint8Array {
    return Uint8Array.of(this.calls.includes('reset') ? 0 : 7);
  }

  restore(bytes: Uint8Array): void {
    this.calls.push(`restore ${bytes}`);
  }
}

const LAYOUTS = ['split', 'packed'] as const;

/** A guest that was stopped after three requests, as QEMU stops those of its own vhost-user devices: with a device status of 0 after all. */
class Stopped {
  readonly device: SavedCounting = new SavedCounting(2);
  readonly bench: Bench;
  readonly ring: BenchRing;
  readonly features: bigint;
  readonly base: number;

  constructor(layout: (typeof LAYOUTS)[number] = 'split') {
    const packed = layout === 'packed';
    this.features = F_PROTOCOL_FEATURES | (packed ? VIRTIO_F_RING_PACKED : 0n);
    this.bench = new Bench(this.device, ALL_RING_FEATURES, false, { mortal: true });
    const { bench } = this;
    bench.negotiate(this.features);
    bench.say(
      REQUEST.SET_PROTOCOL_FEATURES,
      encodeU64(STATUS | RESET_DEVICE | CONFIG | DEVICE_STATE | PROTOCOL_F.REPLY_ACK),
    );
    this.ring = packed ? bench.packedRing(0, 8) : bench.ring(0);
    this.ring.start(packed ? { base: 0x8000_8000 } : {});
    bench.ring(1).start();
    this.enable();
    for (let i = 0; i < 3; i++) this.ring.request(0);
    assert.deepEqual(this.ring.answers(), [1, 2, 3]);
    this.#stop(1);
    this.base = this.#stop(0);
    bench.say(REQUEST.SET_STATUS, encodeU64(0n));
    assert.deepEqual(this.device.calls, ['activate 0']);
  }

  enable(): void {
    for (const index of [0, 1]) this.bench.say(REQUEST.SET_VRING_ENABLE, encodeVringState({ index, num: 1 }));
  }

  /** @returns the answer to a request of a ring that starts. */
  start(ring: BenchRing, base: number): number[] {
    this.bench.say(REQUEST.SET_FEATURES, encodeU64(this.features));
    this.bench.say(REQUEST.SET_STATUS, encodeU64(0xfn));
    ring.start({ base });
    this.enable();
    ring.request(0);
    return ring.answers();
  }

  /** @param device - the last one. */
  end(): void {
    this.bench.close();
    this.bench.mortal!.close();
    assert.equal(this.bench.os.openFds, 0);
    assert.equal(this.bench.os.openMappings, 0);
    assert.deepEqual(this.bench.warnings, []);
  }

  #stop(index: number): number {
    const { bench } = this;
    bench.say(REQUEST.GET_VRING_BASE, encodeVringState({ index, num: 0 }));
    return bench.frontend.take(REQUEST.GET_VRING_BASE).getUint32(4, true);
  }
}

for (const layout of LAYOUTS) {
  for (const dies of [false, true]) {
    const how = `${layout}${dies ? '; its process died meanwhile' : ''}`;

    test(`a device status of 0 of a guest that stood still, and goes on: the device is not reset (${how})`, () => {
      const s = new Stopped(layout);
      const device = dies ? new SavedCounting(2) : s.device;
      if (dies) s.bench.restart(device);
      assert.deepEqual(s.start(s.ring, s.base), [4]);
      assert.ok(!device.calls.includes('reset'), device.calls.join());
      // It is not for later, either.
      s.bench.restart(new SavedCounting(2));
      s.ring.request(0);
      assert.deepEqual(s.ring.answers(), [5]);
      s.end();
    });

    test(`a device status of 0, and a ring at its beginning: the device was reset before it starts (${how})`, () => {
      const s = new Stopped(layout);
      const { device } = s;
      if (dies) s.bench.restart(new SavedCounting(2));
      const packed = layout === 'packed';
      const ring = packed ? s.bench.packedRing(0, 8) : s.bench.ring(0);
      assert.deepEqual(s.start(ring, packed ? 0x8000_8000 : 0), [1]);
      if (!dies) assert.deepEqual(device.calls, ['activate 0', 'reset', 'activate 0']);
      s.end();
    });
  }
}

test('a device status of 0, and a ring elsewhere, or other features: the device was reset before it starts', () => {
  const elsewhere = new Stopped();
  const { base } = elsewhere;
  assert.deepEqual(elsewhere.start(elsewhere.bench.ring(0, 8, base), base), [1]);
  elsewhere.end();
  const other = new Stopped();
  other.bench.say(REQUEST.SET_FEATURES, encodeU64(other.features | 1n));
  assert.deepEqual(other.device.calls, ['activate 0', 'reset']);
  other.end();
});

test('2.4.1: a device status of 0, and rings that can be those of before or new ones: the device was reset', () => {
  const device = new SavedCounting(1);
  const bench = new Bench(device);
  bench.negotiate();
  const ring = bench.ring(0);
  ring.start();
  ring.enable();
  ring.stop();
  assert.equal(ring.takeBase(), 0);
  bench.say(REQUEST.SET_STATUS, encodeU64(0n));
  ring.start();
  ring.enable();
  assert.deepEqual(device.calls, ['activate 0', 'reset', 'activate 0']);
  bench.close();
});

test('a device status of 0 is a reset at once where a ring runs, or is broken, and for whoever looks at the configuration space', () => {
  const running = new Bench(new SavedCounting(1));
  running.negotiate();
  const ring = running.ring(0);
  ring.start();
  ring.enable();
  running.say(REQUEST.SET_STATUS, encodeU64(0n));
  running.close();
  const config = { offset: 4, size: 4, flags: 0, bytes: new Uint8Array(4) };
  for (const request of [REQUEST.GET_CONFIG, REQUEST.SET_CONFIG]) {
    const s = new Stopped();
    s.bench.say(request, encodeConfig(config));
    assert.deepEqual(s.device.calls.slice(0, 2), ['activate 0', 'reset']);
    if (request === REQUEST.GET_CONFIG) s.bench.frontend.take(request);
    // Once.
    assert.deepEqual(s.start(s.ring, s.base), [1]);
    s.end();
  }
  const s = new Stopped();
  s.bench.say(REQUEST.RESET_DEVICE);
  assert.deepEqual(s.device.calls, ['activate 0', 'reset']);
  s.end();
});

test('SET_DEVICE_STATE_FD: after a device status of 0, as QEMU says it before, the state is that of the device', () => {
  const s = new Stopped();
  const { reader, writer } = s.bench.os.createPipe();
  const payload = encodeDeviceState({ direction: STATE_DIRECTION.SAVE, phase: STATE_PHASE.STOPPED });
  s.bench.say(REQUEST.SET_DEVICE_STATE_FD, payload, { fds: [writer] });
  let state: Uint8Array | Error | undefined;
  s.bench.os.readPipe(reader, 4096, (result) => {
    state = result;
  });
  s.bench.os.closeFd(writer);
  s.bench.os.run();
  s.bench.frontend.take(REQUEST.SET_DEVICE_STATE_FD);
  assert.deepEqual(s.device.calls, ['activate 0']);
  // Another takes it up after a device status of 0, too.
  const next = new Stopped();
  const pipe = next.bench.os.createPipe();
  const load = encodeDeviceState({ direction: STATE_DIRECTION.LOAD, phase: STATE_PHASE.STOPPED });
  next.bench.say(REQUEST.SET_DEVICE_STATE_FD, load, { fds: [pipe.reader] });
  next.bench.os.writePipe(pipe.writer, state as Uint8Array, () => {});
  next.bench.os.closeFd(pipe.reader);
  next.bench.os.run();
  next.bench.frontend.take(REQUEST.SET_DEVICE_STATE_FD);
  assert.deepEqual(next.device.calls, ['activate 0', 'reset', 'restore 7']);
  s.end();
  next.end();
});
