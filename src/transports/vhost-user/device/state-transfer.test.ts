import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openState, sealState } from '../../../virtio/saved-state.js';
import { PROTOCOL_F, REQUEST, STATE_DIRECTION, STATE_NOFD } from '../messages.js';
import { encodeDeviceState, encodeU64 } from '../payloads.js';
import { Bench } from '../testing/bench.js';
import { ProbeDevice } from '../testing/probe-device.js';

const { SAVE, LOAD } = STATE_DIRECTION;

/** A probe that counts, and has that count as its state. */
class Counter extends ProbeDevice {
  count = 0;

  override reset(): void {
    super.reset();
    this.count = 0;
  }

  save(): unknown {
    return { count: this.count, bulk: new Uint8Array(20_000) };
  }

  restore(state: unknown): void {
    const { count } = state as { count: number };
    if (count === 13) throw new Error('not that one');
    this.count = count;
    this.calls.push(`restore ${count}`);
  }
}

function bench(): { b: Bench; device: Counter } {
  const device = new Counter(2);
  const b = new Bench(device);
  b.say(REQUEST.SET_PROTOCOL_FEATURES, encodeU64(PROTOCOL_F.DEVICE_STATE | PROTOCOL_F.REPLY_ACK));
  return { b, device };
}

function finish(b: Bench): void {
  b.close();
  assert.equal(b.os.openFds, 0);
  assert.equal(b.os.openMappings, 0);
  assert.equal(b.clock.open, 0);
}

/** SET_DEVICE_STATE_FD, with one end of a new pipe. @returns the answer, and the other end. */
function begin(b: Bench, direction: number, phase = 0): { answer: bigint; fd: number } {
  const { reader, writer } = b.os.createPipe();
  const [ours, theirs] = direction === SAVE ? [reader, writer] : [writer, reader];
  b.frontend.send(REQUEST.SET_DEVICE_STATE_FD, encodeDeviceState({ direction, phase }), { fds: [theirs] });
  b.os.closeFd(theirs);
  b.os.run();
  return { answer: b.frontend.takeU64(REQUEST.SET_DEVICE_STATE_FD), fd: ours };
}

function check(b: Bench): bigint {
  b.say(REQUEST.CHECK_DEVICE_STATE);
  return b.frontend.takeU64(REQUEST.CHECK_DEVICE_STATE);
}

function save(b: Bench): Uint8Array {
  const { answer, fd } = begin(b, SAVE);
  assert.equal(answer, STATE_NOFD);
  let state: Uint8Array | undefined;
  b.os.readPipe(fd, 1 << 20, (result) => {
    assert.ok(result instanceof Uint8Array);
    state = result;
  });
  b.os.run();
  assert.equal(check(b), 0n);
  return state!;
}

function load(b: Bench, state: Uint8Array): bigint {
  const { answer, fd } = begin(b, LOAD);
  assert.equal(answer, STATE_NOFD);
  b.os.writePipe(fd, state, () => {});
  b.os.run();
  return check(b);
}

test('vhost-user Migrating back-end state: what one device saves another goes on from, before it is told of features and rings', () => {
  const source = bench();
  source.b.negotiate();
  const ring = source.b.ring(0);
  ring.start();
  ring.enable();
  ring.request(1);
  source.device.count = 5;
  source.device.config.view.setUint8(4, 77);
  ring.stop();
  ring.takeBase();
  const state = save(source.b);
  assert.equal((openState(state) as { name: string }).name, 'probe');
  // It may go on itself.
  ring.start({ base: 1 });
  ring.enable();
  ring.request(2);
  assert.deepEqual(ring.answers(), [1, 2]);
  assert.ok(!source.device.calls.includes('reset'));
  finish(source.b);

  const target = bench();
  assert.equal(load(target.b, state), 0n);
  assert.equal(target.device.count, 5);
  assert.equal(target.device.config.view.getUint8(4), 77);
  target.b.negotiate();
  const there = target.b.ring(0, 8, 1);
  there.start({ base: 1 });
  there.enable();
  there.request(3);
  assert.deepEqual(target.device.calls, ['restore 5', 'activate 0']);
  assert.equal(target.device.count, 5);
  assert.deepEqual(target.b.warnings, []);
  finish(target.b);
});

test('a state that comes while the device is paused takes the place of what it was at; a reset forgets it', () => {
  const { b, device } = bench();
  b.negotiate();
  const ring = b.ring(0);
  ring.start();
  ring.enable();
  ring.request(1);
  ring.stop();
  ring.takeBase();
  const state = sealState({ id: 63, name: 'probe', config: new Uint8Array(12), state: { count: 9 } });
  assert.equal(load(b, state), 0n);
  ring.start({ base: 1 });
  ring.enable();
  ring.request(2);
  assert.deepEqual(ring.answers(), [1, 2]);
  assert.deepEqual(device.calls, ['activate 0', 'reset', 'restore 9', 'activate 0']);
  ring.stop();
  ring.takeBase();
  assert.equal(load(b, state), 0n);
  b.say(REQUEST.RESET_DEVICE);
  assert.deepEqual(device.calls.slice(-3), ['reset', 'restore 9', 'reset']);
  assert.equal(device.count, 0);
  finish(b);
});

test('a state that can not be is said to be, CHECK_DEVICE_STATE fails, and the device is as after a reset', () => {
  const good = { id: 63, name: 'probe', config: new Uint8Array(12), state: { count: 1 } };
  const cases: [Uint8Array, RegExp][] = [
    [new Uint8Array(), /has 0 bytes/],
    [new Uint8Array(100), /none of virtio-misc/],
    [sealState(good).slice(0, -1), /bytes of/],
    [sealState({ ...good, id: 70, name: 'virtio-misc' }), /of virtio-misc \(id 70\), this is id 63/],
    [sealState({ ...good, state: { count: 13 } }), /not that one/],
    [sealState({ ...good, config: new Uint8Array(11) }), /config/],
  ];
  for (const [state, text] of cases) {
    const { b, device } = bench();
    assert.notEqual(load(b, state), 0n);
    assert.equal(b.warnings.length, 1);
    assert.match(b.warnings[0]!, /probe: vhost-user: the device's state was not transferred: /);
    assert.match(b.warnings[0]!, text);
    assert.equal(device.calls.at(-1), 'reset');
    // The next try works.
    assert.equal(load(b, sealState(good)), 0n);
    assert.equal(device.count, 1);
    finish(b);
  }
});

test('SET_DEVICE_STATE_FD is refused by name: while a ring runs, for what is no pipe, unknown directions and phases, unless negotiated', () => {
  const { b } = bench();
  const refused = (text: RegExp, answer: bigint): void => {
    assert.equal(answer & 0xffn, 1n);
    assert.equal(answer & 0x100n, 0x100n, 'no descriptor comes');
    assert.match(b.warnings.pop()!, text);
  };
  for (const [direction, phase, text] of [
    [2, 0, /direction 2 is unknown/],
    [SAVE, 1, /phase 1 is unknown/],
    [0xffff_ffff, 0xffff_ffff, /direction 4294967295/],
  ] as const) {
    const { answer, fd } = begin(b, direction, phase);
    refused(text, answer);
    b.os.closeFd(fd);
  }
  for (const direction of [SAVE, LOAD]) {
    b.say(REQUEST.SET_DEVICE_STATE_FD, encodeDeviceState({ direction, phase: 0 }), { fds: [b.memoryFd] });
    refused(/no pipe/, b.frontend.takeU64(REQUEST.SET_DEVICE_STATE_FD));
  }
  b.negotiate();
  const ring = b.ring(1);
  ring.start();
  for (const direction of [SAVE, LOAD]) {
    const { answer, fd } = begin(b, direction);
    refused(/SET_DEVICE_STATE_FD is refused: ring 1 is not stopped/, answer);
    b.os.closeFd(fd);
  }
  b.say(REQUEST.SET_PROTOCOL_FEATURES, encodeU64(0n));
  const { answer, fd } = begin(b, SAVE);
  refused(/DEVICE_STATE was not negotiated/, answer);
  b.os.closeFd(fd);
  finish(b);
});

test('what a device saves that has no bytes is refused by name', () => {
  const { b, device } = bench();
  device.save = () => ({ waiting: [{ chain: () => {} }] });
  const { answer, fd } = begin(b, SAVE);
  assert.equal(answer & 0xffn, 1n);
  assert.match(b.warnings[0]!, /SET_DEVICE_STATE_FD is refused: .*waiting/);
  b.os.closeFd(fd);
  finish(b);
});

test('CHECK_DEVICE_STATE waits for the other end, for 10 s; what is behind it is answered after', () => {
  const { b } = bench();
  assert.notEqual(check(b), 0n);
  assert.match(b.warnings.pop()!, /no state was transferred/);
  const { fd } = begin(b, LOAD);
  b.say(REQUEST.CHECK_DEVICE_STATE);
  b.say(REQUEST.GET_QUEUE_NUM);
  assert.equal(b.frontend.replies.length, 0);
  b.os.closeFd(fd);
  b.os.run();
  assert.notEqual(b.frontend.takeU64(REQUEST.CHECK_DEVICE_STATE), 0n);
  assert.equal(b.frontend.takeU64(REQUEST.GET_QUEUE_NUM), 2n);
  b.warnings.length = 0;

  const slow = begin(b, SAVE);
  b.say(REQUEST.CHECK_DEVICE_STATE);
  b.clock.advance(9.9e9);
  b.os.run();
  assert.equal(b.frontend.replies.length, 0);
  b.clock.advance(0.2e9);
  b.os.run();
  assert.notEqual(b.frontend.takeU64(REQUEST.CHECK_DEVICE_STATE), 0n);
  assert.match(b.warnings.pop()!, /the other end of the pipe was not closed within 10 s/);
  b.os.closeFd(slow.fd);
  assert.notEqual(check(b), 0n);
  finish(b);
});

test('a front-end that closes its end, begins anew or goes in the middle of it leaves nothing behind', () => {
  const { b } = bench();
  b.os.closeFd(begin(b, SAVE).fd);
  b.os.run();
  assert.notEqual(check(b), 0n);
  assert.match(b.warnings.pop()!, /EPIPE/);
  const [first, second] = [begin(b, LOAD), begin(b, SAVE)];
  b.os.closeFd(first.fd);
  b.say(REQUEST.CHECK_DEVICE_STATE);
  b.os.closeFd(second.fd);
  finish(b);
});

test('rings that start in the middle of it have it fail: a device at work takes no state', () => {
  const { b, device } = bench();
  b.negotiate();
  const { fd } = begin(b, LOAD);
  const ring = b.ring(0);
  ring.start();
  ring.enable();
  ring.request(1);
  const state = sealState({ id: 63, name: 'probe', config: new Uint8Array(12), state: { count: 1 } });
  b.os.writePipe(fd, state, () => {});
  b.os.run();
  assert.notEqual(check(b), 0n);
  assert.match(b.warnings.pop()!, /ring 0 is not stopped/);
  assert.deepEqual(ring.answers(), [1]);
  assert.deepEqual(device.calls, ['activate 0']);
  finish(b);
});

test('SET_DEVICE_STATE_FD and CHECK_DEVICE_STATE of other sizes, or with another number of descriptors, end the connection', () => {
  const good = encodeDeviceState({ direction: SAVE, phase: 0 });
  for (const [request, payload, fds] of [
    [REQUEST.SET_DEVICE_STATE_FD, good, 0],
    [REQUEST.SET_DEVICE_STATE_FD, good, 2],
    [REQUEST.SET_DEVICE_STATE_FD, new Uint8Array(7), 1],
    [REQUEST.SET_DEVICE_STATE_FD, new Uint8Array(9), 1],
    [REQUEST.CHECK_DEVICE_STATE, new Uint8Array(8), 0],
  ] as const) {
    const { b } = bench();
    b.say(request, payload, { fds: new Array<number>(fds).fill(b.memoryFd) });
    assert.equal(b.ended?.error?.name, 'ProtocolError');
    finish(b);
  }
});
