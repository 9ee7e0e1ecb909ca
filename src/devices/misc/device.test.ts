import assert from 'node:assert/strict';
import { test } from 'node:test';
import { le64 } from '../../virtio/struct.js';
import { DeviceBench } from '../../virtio/testing/device-bench.js';
import { type MiscOptions, virtioMisc } from './device.js';
import * as wire from './wire.js';

const MS = 1e6;
const { OK, UNSUPPORTED, INVALID, EXISTS, NO_SPACE } = wire.STATUS;

class MiscBench extends DeviceBench {
  constructor(options?: MiscOptions, features?: bigint) {
    super(virtioMisc(options), features === undefined ? {} : { features });
  }

  send(...words: number[]): number {
    const answer = this.ask(wire.CONTROLQ, new Uint8Array(Uint32Array.from(words).buffer), wire.STATUS_SIZE);
    return new DataView(answer!.buffer).getUint32(0, true);
  }

  set(id: number, ms: number): number {
    return this.send(wire.VIRTIO_MISC_SET_TIMER, ms, id);
  }

  every(id: number, ns: number): number {
    return this.send(wire.VIRTIO_MISC_SET_TIMER_NS, id, ns, 0, ns, 0);
  }

  postBuffers(count: number, room: number = wire.NOTIFICATION.sizeWithCount): void {
    for (let i = 0; i < count; i++) this.drivers[wire.NOTIFYQ]!.send([], [room]);
    this.kick(wire.NOTIFYQ);
  }

  /** Notifications that came, as [id] or [id, expirations]. */
  notified(): number[][] {
    const all: number[][] = [];
    for (
      let n = this.drivers[wire.NOTIFYQ]!.receive();
      n !== undefined;
      n = this.drivers[wire.NOTIFYQ]!.receive()
    ) {
      const view = new DataView(n.bytes.buffer);
      if (n.bytes.length === 0) all.push([]);
      else if (n.bytes.length === 8) all.push([view.getUint32(4, true)]);
      else all.push([view.getUint32(4, true), le64.read(view, 8)]);
    }
    return all;
  }
}

test('a timer expires at its deadline, not a nanosecond earlier', () => {
  const bench = new MiscBench();
  bench.postBuffers(1);
  assert.equal(bench.set(9, 5), OK);
  bench.advance(5 * MS - 1);
  assert.deepEqual(bench.notified(), []);
  bench.advance(1);
  assert.deepEqual(bench.notified(), [[9, 1]]);
});

test('a buffer of 8 bytes gets no count; a smaller one comes back empty and loses nothing', () => {
  const bench = new MiscBench();
  bench.postBuffers(1, 4);
  bench.postBuffers(1, 8);
  bench.set(1, 1);
  bench.advance(MS);
  assert.deepEqual(bench.notified(), [[], [1]]);
  assert.match(bench.warnings[0]!, /needs 8 bytes, a buffer has 4/);
});

test('an id is in use until its notification is delivered', () => {
  const bench = new MiscBench();
  bench.set(1, 1);
  bench.advance(2 * MS);
  assert.equal(bench.set(1, 1), EXISTS);
  bench.postBuffers(2);
  assert.deepEqual(bench.notified(), [[1, 1]]);
  assert.equal(bench.set(1, 1), OK);
});

test('max_timers counts the armed and the undelivered', () => {
  const bench = new MiscBench({ maxTimers: 2 });
  assert.equal(new DataView(bench.runner.readConfig(0, 4).buffer).getUint32(0, true), 2);
  bench.set(1, 1);
  bench.advance(2 * MS);
  bench.set(2, 60_000);
  assert.equal(bench.set(3, 1), NO_SPACE);
  assert.equal(bench.send(wire.VIRTIO_MISC_CANCEL_TIMER, 0, 1), OK);
  assert.equal(bench.set(3, 1), OK);
});

test('a periodic timer counts up while no buffer is posted', () => {
  const bench = new MiscBench();
  assert.equal(bench.every(4, 100), OK);
  bench.advance(1050);
  bench.postBuffers(1);
  assert.deepEqual(bench.notified(), [[4, 10]]);
  bench.postBuffers(2);
  bench.advance(50);
  assert.deepEqual(bench.notified(), [[4, 1]]);
});

test('timers stand still while the guest does', () => {
  const bench = new MiscBench();
  bench.postBuffers(1);
  bench.set(1, 10);
  bench.advance(4 * MS);
  bench.runner.pause();
  bench.advance(1000 * MS);
  bench.runner.activate();
  bench.advance(6 * MS - 1);
  assert.deepEqual(bench.notified(), []);
  bench.advance(1);
  assert.deepEqual(bench.notified(), [[1, 1]]);
});

test('reset drops all timers and leaves no alarm', () => {
  const bench = new MiscBench();
  bench.set(1, 10);
  bench.runner.reset();
  bench.advance(100 * MS);
  assert.equal(bench.clock.open, 0);
  assert.deepEqual(bench.lines, ['virtio-misc: timer 1 set for 10 ms']);
});

test('what was not negotiated is unsupported, what is too short is invalid', () => {
  const none = new MiscBench({}, 0n);
  assert.equal(none.send(wire.VIRTIO_MISC_CANCEL_TIMER, 0, 1), UNSUPPORTED);
  assert.equal(none.every(1, 100), UNSUPPORTED);
  const noPeriod = new MiscBench({}, wire.VIRTIO_MISC_F_NSEC);
  assert.equal(noPeriod.every(1, 100), UNSUPPORTED);
  assert.equal(noPeriod.send(wire.VIRTIO_MISC_SET_TIMER_NS, 1, 100, 0, 0, 0), OK);
  assert.equal(noPeriod.send(wire.VIRTIO_MISC_SET_TIMER_NS, 2, 100, 0, 0), INVALID);
  assert.equal(noPeriod.send(wire.VIRTIO_MISC_SET_TIMER, 1), INVALID);
  assert.equal(noPeriod.send(0), UNSUPPORTED);
});

test('more timers fall due at once than the queue has buffers: all are told, in order', () => {
  const bench = new MiscBench();
  for (let id = 0; id < 600; id++) bench.set(id, 1 + (id % 3));
  bench.advance(10 * MS);
  const ids: number[] = [];
  while (ids.length < 600) {
    bench.postBuffers(200);
    ids.push(...bench.notified().map(([id]) => id!));
  }
  const expected = [0, 1, 2].flatMap((k) => Array.from({ length: 200 }, (_, i) => 3 * i + k));
  assert.deepEqual(ids, expected);
});

test('very many timers that fall due together are gone through in slices, others having their turn between', () => {
  const COUNT = 20_000;
  const bench = new MiscBench({ maxTimers: COUNT + 1 });
  bench.set(COUNT, 1);
  for (let id = 0; id < COUNT; id++) assert.equal(bench.set(id, 5000 + ((id * 7) % 3000)), OK);
  // Without a buffer nothing more is looked for than the first.
  bench.advance(9000 * MS);
  bench.postBuffers(2);
  assert.deepEqual(bench.notified(), [[COUNT, 1]]);
  // No time goes by: it was only the others' turn.
  assert.equal(bench.clock.next, bench.clock.now());
  bench.advance(0);
  assert.deepEqual(bench.notified(), [[0, 1]]);
});

test('memory that a peak leaves is given back a second later, once', () => {
  const bench = new MiscBench();
  bench.postBuffers(1);
  for (let id = 0; id < 20_000; id++) assert.equal(bench.set(id, 60_000), OK);
  assert.equal(bench.clock.next, 60_000 * MS);
  for (let id = 0; id < 20_000; id++) assert.equal(bench.send(wire.VIRTIO_MISC_CANCEL_TIMER, 0, id), OK);
  assert.equal(bench.clock.next, 1000 * MS);
  bench.advance(1000 * MS);
  assert.equal(bench.clock.next, undefined);
  assert.equal(bench.set(1, 5), OK);
  bench.advance(5 * MS);
  assert.deepEqual(bench.notified(), [[1, 1]]);
});

test('an alarm is set only while there is a buffer for what it would tell', () => {
  const bench = new MiscBench();
  bench.set(1, 10);
  bench.set(2, 20);
  bench.advance(15 * MS);
  assert.equal(bench.clock.next, undefined);
  bench.postBuffers(2);
  assert.deepEqual(bench.notified(), [[1, 1]]);
  assert.equal(bench.clock.next, 20 * MS);
});

test('maxTimers out of range is refused', () => {
  assert.throws(() => virtioMisc({ maxTimers: 0 }), /whole number from 1/);
});

test('what it offers stands alone: any subset of its features can be taken', () => {
  const { features } = virtioMisc()();
  assert.equal(features, 0b111n);
  for (let subset = 0n; subset <= features; subset++) {
    const bench = new MiscBench({}, subset);
    assert.equal(bench.set(1, 1), OK);
    const cancelled = bench.send(wire.VIRTIO_MISC_CANCEL_TIMER, 0, 1);
    assert.equal(cancelled, (subset & wire.VIRTIO_MISC_F_CANCEL) === 0n ? UNSUPPORTED : OK);
  }
});

test('an answer is 4 bytes, whatever room there is, at once and in order', () => {
  const bench = new MiscBench();
  const controlq = bench.drivers[wire.CONTROLQ]!;
  for (const id of [1, 2, 2, 3]) {
    const request = Uint32Array.of(wire.VIRTIO_MISC_SET_TIMER, 60_000, id);
    controlq.send([new Uint8Array(request.buffer)], [3, 61]);
  }
  bench.kick(wire.CONTROLQ);
  const answers = Array.from({ length: 4 }, () => [...controlq.receive()!.bytes]);
  assert.deepEqual(answers, [
    [OK, 0, 0, 0],
    [OK, 0, 0, 0],
    [EXISTS, 0, 0, 0],
    [OK, 0, 0, 0],
  ]);
  // Carried out, though there is no room to say so.
  controlq.send([new Uint8Array(Uint32Array.of(wire.VIRTIO_MISC_SET_TIMER, 60_000, 4).buffer)], [3]);
  bench.kick(wire.CONTROLQ);
  assert.equal(controlq.receive()!.bytes.length, 0);
  assert.equal(bench.set(4, 1), EXISTS);
});

test('a cancellation that is answered OK is the last of that timer; what is reserved is ignored', () => {
  const bench = new MiscBench();
  bench.set(1, 1);
  bench.set(2, 1);
  bench.every(3, MS);
  assert.equal(bench.send(wire.VIRTIO_MISC_CANCEL_TIMER, 0xffff_ffff, 1), OK);
  bench.advance(5 * MS);
  // Expired, and not told of.
  assert.equal(bench.send(wire.VIRTIO_MISC_CANCEL_TIMER, 0, 2), OK);
  bench.postBuffers(3);
  assert.deepEqual(bench.notified(), [[3, 5]]);
  assert.equal(bench.send(wire.VIRTIO_MISC_CANCEL_TIMER, 7, 3), OK);
  bench.advance(5 * MS);
  assert.deepEqual(bench.notified(), []);
  for (const id of [1, 2, 3, 4]) {
    assert.equal(bench.send(wire.VIRTIO_MISC_CANCEL_TIMER, 0, id), wire.STATUS.NOT_FOUND);
  }
});

test('a driver after a reset finds no timer of the one before, armed, expired or with an interval', () => {
  const bench = new MiscBench();
  bench.set(1, 1);
  bench.set(2, 60);
  bench.every(3, MS);
  bench.advance(2 * MS);
  bench.reset();
  bench.start();
  bench.postBuffers(8);
  bench.advance(100 * MS);
  assert.deepEqual(bench.notified(), []);
  for (const id of [1, 2, 3]) assert.equal(bench.set(id, 1), OK);
  bench.advance(MS);
  assert.deepEqual(bench.notified(), [
    [1, 1],
    [2, 1],
    [3, 1],
  ]);
});

test('a device that takes the place of this one goes on with its timers, where they stood, each told once', () => {
  const bench = new MiscBench();
  bench.postBuffers(2);
  assert.equal(bench.set(1, 10), OK);
  assert.equal(bench.set(2, 5), OK);
  assert.equal(bench.set(3, 20), OK);
  bench.every(4, 8 * MS);
  bench.advance(6 * MS);
  assert.deepEqual(bench.notified(), [[2, 1]]);
  bench.replace(virtioMisc());
  assert.equal(bench.set(1, 1), EXISTS);
  bench.advance(2 * MS - 1);
  assert.deepEqual(bench.notified(), []);
  bench.advance(1);
  assert.deepEqual(bench.notified(), [[4, 1]]);
  bench.advance(16 * MS);
  // Without buffers, all of it waits.
  bench.replace(virtioMisc());
  bench.postBuffers(5);
  bench.advance(0);
  assert.deepEqual(bench.notified(), [
    [1, 1],
    [4, 2],
    [3, 1],
  ]);
  bench.advance(8 * MS);
  assert.deepEqual(bench.notified(), [[4, 1]]);
});
