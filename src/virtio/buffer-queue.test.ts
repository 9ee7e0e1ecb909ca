import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Loopback } from '../transports/loopback/loopback.js';
import type { BufferQueue } from './buffer-queue.js';
import type { ChainQueue } from './chain-queue.js';
import { defineDevice } from './define-device.js';
import { type Driver, openDriver } from './driver.js';
import { le32, struct, text } from './struct.js';
import { FakeClock } from './testing/fake-clock.js';

async function open(
  queue: Omit<ChainQueue<Record<never, never>>, 'name'>,
  memorySize?: number,
): Promise<{ driver: Driver; queue: BufferQueue }> {
  const device = defineDevice({ id: 60, name: 'probe', queues: [{ name: 'q', size: 4, ...queue }] })();
  const environment = { clock: new FakeClock(), defer: setImmediate, print: () => {}, warn: () => {} };
  const transport = new Loopback(device, environment, memorySize);
  const driver = await openDriver(transport, { id: 60, features: 0n, queues: 1 });
  return { driver, queue: driver.queues[0]! };
}

/** Sends back what it got. */
const echo: ChainQueue<Record<never, never>>['handle'] = (chain) => {
  chain.write(chain.readRest());
};

test('requests that do not fit into the ring wait their turn, and each gets its own answer', async () => {
  const { driver, queue } = await open({ handle: echo });
  const request = new Uint8Array(3);
  const answers = Array.from({ length: 1000 }, (_, i) => {
    // One array for all: it is copied at once, whether there is room or not.
    request.set([i & 0xff, i >> 8, 7]);
    return queue.request(request.subarray(0, 2 + (i % 2)), 3);
  });
  for (const [i, answer] of (await Promise.all(answers)).entries()) {
    assert.deepEqual([...answer], [i & 0xff, i >> 8, 7].slice(0, 2 + (i % 2)));
  }
  await driver.close();
});

test('answers that came together are taken together', async (t) => {
  const { driver, queue } = await open({ handle: echo });
  const later = t.mock.method(globalThis, 'setTimeout');
  for (let round = 0; round < 10; round++) {
    await Promise.all(Array.from({ length: 4 }, () => queue.request(Uint8Array.of(round), 1)));
  }
  assert.equal(later.mock.callCount(), 0);
  await driver.close();
});

test("an answer is the caller's own: later ones change nothing in it", async () => {
  const { driver, queue } = await open({ handle: echo });
  const first = await queue.request(Uint8Array.of(1, 2), 2);
  await queue.request(Uint8Array.of(3, 4), 2);
  assert.deepEqual([...first], [1, 2]);
  const posted: Uint8Array[] = [];
  const last = new Promise<void>((resolve) => {
    for (let n = 0; n < 2; n++) queue.post(2, (written) => void (posted.push(written) === 2 && resolve()));
  });
  await last;
  assert.deepEqual(
    posted.map((written) => written.length),
    [0, 0],
  );
  await driver.close();
});

test('messages of many lengths, one after the other, in little memory', async () => {
  const { driver, queue } = await open({ handle: echo }, 65_536);
  for (let length = 1; length < 12_000; length += 111) {
    const request = new Uint8Array(length).fill(length);
    assert.deepEqual(await queue.request(request, length), request);
  }
  const many = Array.from({ length: 90 }, (_, i) => queue.request(new Uint8Array(i + 1).fill(i), i + 1));
  for (const [i, answer] of (await Promise.all(many)).entries()) {
    assert.deepEqual(answer, new Uint8Array(i + 1).fill(i));
  }
  await assert.rejects(queue.request(new Uint8Array(70_000), 1), RangeError);
  await driver.close();
});

test('a call is of structs in both directions; what can not be sent, or was not answered whole, rejects', async () => {
  const { driver, queue } = await open({ handle: echo });
  const shape = struct({ n: le32, name: text(4) });
  const calls = ['a', 'bcde', ''].map((name, n) => queue.call(shape, { n, name }, shape));
  assert.deepEqual(await Promise.all(calls), [
    { n: 0, name: 'a' },
    { n: 1, name: 'bcde' },
    { n: 2, name: '' },
  ]);
  await assert.rejects(queue.call(shape, { name: 'fives' }, shape), RangeError);
  await assert.rejects(queue.call(struct({ n: le32 }), { n: 1 }, shape), {
    code: 'PROTOCOL',
    message: 'a response has 8 bytes, not 4',
  });
  await driver.close();
});

test('when the device is lost, what is with it and what waits rejects, in order', async () => {
  const { driver, queue } = await open({});
  const shape = struct({ n: le32 });
  const failed: number[] = [];
  const all = Array.from({ length: 20 }, (_, n) =>
    queue.call(shape, { n }, shape).catch(({ code }) => void (code === 'LOST' && failed.push(n))),
  );
  await driver.close();
  await Promise.all(all);
  assert.deepEqual(
    failed,
    Array.from({ length: 20 }, (_, n) => n),
  );
  await assert.rejects(queue.call(shape, { n: 1 }, shape), { code: 'LOST' });
});
