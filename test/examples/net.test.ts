import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Hub, net } from '../../examples/net.js';
import { DeviceBench } from '../../src/index.js';

const [RECEIVE, TRANSMIT] = [0, 1] as const;
const ROOM = 12 + 1518;

/** A frame of `length` bytes, from one address to another. */
function frame(length: number, seed = 0): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => i * 3 + seed);
}

/** Sends a frame behind a header that the device should not care for. */
async function send(bench: DeviceBench, bytes: Uint8Array): Promise<void> {
  bench.ask(TRANSMIT, Uint8Array.from([...new Uint8Array(12).fill(0xff), ...bytes]), 0);
  await Promise.resolve();
}

function post(bench: DeviceBench, count = 1, room = ROOM): void {
  for (let i = 0; i < count; i++) bench.drivers[RECEIVE]!.send([], [room]);
  bench.kick(RECEIVE);
}

/** The frames that came, without their headers, which are checked. */
function received(bench: DeviceBench): Uint8Array[] {
  const frames: Uint8Array[] = [];
  for (let answer = bench.drivers[RECEIVE]!.receive(); answer; answer = bench.drivers[RECEIVE]!.receive()) {
    assert.deepEqual([...answer.bytes.subarray(0, 12)], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    frames.push(answer.bytes.slice(12));
  }
  return frames;
}

function benches(count: number): { hub: Hub; all: DeviceBench[] } {
  const hub: Hub = new Set();
  return { hub, all: Array.from({ length: count }, () => new DeviceBench(net(hub)())) };
}

describe('the net example', () => {
  test('5.1.6: what one sends all others get, and it does not; they are interrupted once for several', async () => {
    const { all } = benches(3);
    const [sender, one, other] = all as [DeviceBench, DeviceBench, DeviceBench];
    for (const bench of all) post(bench, 3);
    sender.drivers[TRANSMIT]!.send([new Uint8Array(12), frame(14)], []);
    sender.drivers[TRANSMIT]!.send([new Uint8Array(12), frame(1518, 1)], []);
    sender.kick(TRANSMIT);
    await Promise.resolve();
    for (const bench of [one, other]) assert.deepEqual(received(bench), [frame(14), frame(1518, 1)]);
    assert.deepEqual(received(sender), []);
    assert.deepEqual(
      [one.interrupts[RECEIVE], other.interrupts[RECEIVE], sender.interrupts[RECEIVE]],
      [1, 1, 0],
    );
  });

  test('a driver that is alone gets its frames back, with their addresses swapped', async () => {
    const [bench] = benches(1).all as [DeviceBench];
    post(bench);
    const sent = frame(60);
    await send(bench, sent);
    assert.deepEqual(received(bench), [
      Uint8Array.from([...sent.subarray(6, 12), ...sent.subarray(0, 6), ...sent.subarray(12)]),
    ]);
  });

  test('a frame that is too short or too long, or that nobody has room for, is lost', async () => {
    const [sender, other] = benches(2).all as [DeviceBench, DeviceBench];
    await send(sender, frame(60));
    post(other);
    for (const length of [0, 13, 1519, 70_000]) await send(sender, frame(length));
    assert.deepEqual(received(other), []);
    await send(sender, frame(60, 7));
    assert.deepEqual(received(other), [frame(60, 7)]);
    post(other, 1, 20);
    await send(sender, frame(60));
    assert.equal(other.drivers[RECEIVE]!.receive()?.bytes.length, 0);
    assert.deepEqual([sender.warnings, sender.broken, other.broken], [[], [], []]);
  });

  test('memory of a receiver that is gone breaks its queue, and not the sender', async () => {
    const [sender, bad, good] = benches(3).all as [DeviceBench, DeviceBench, DeviceBench];
    for (const bench of [bad, good]) post(bench, 2);
    bad.drivers[RECEIVE]!.memory.clear();
    await send(sender, frame(60));
    await send(sender, frame(60, 1));
    assert.deepEqual(received(good), [frame(60), frame(60, 1)]);
    assert.deepEqual([bad.broken, sender.broken], [[RECEIVE], []]);
  });

  test('5.1.4: the link is up, and each has an address of its own, locally administered', () => {
    const macs = benches(20).all.map(({ runner }) => {
      const config = runner.readConfig(0, 8);
      assert.deepEqual([config[0]! & 3, config[6]], [2, 1]);
      return Buffer.from(config.subarray(0, 6)).toString('hex');
    });
    assert.equal(new Set(macs).size, 20);
  });

  test('2.4: after its reset a driver is no longer on the hub', async () => {
    const { hub, all } = benches(2);
    const [sender, other] = all as [DeviceBench, DeviceBench];
    other.runner.reset();
    assert.equal(hub.size, 1);
    post(sender);
    await send(sender, frame(60));
    assert.equal(received(sender).length, 1);
  });

  test('edited code goes on with the hub and the address', async () => {
    const { hub, all } = benches(2);
    const [sender, other] = all as [DeviceBench, DeviceBench];
    const before = other.runner.readConfig(0, 8);
    post(other);
    other.runner.replace(net()());
    other.settle();
    assert.equal(hub.size, 2);
    assert.deepEqual(other.runner.readConfig(0, 8), before);
    await send(sender, frame(60));
    assert.deepEqual(received(other), [frame(60)]);
    assert.equal(other.configInterrupts, 0);
  });
});
