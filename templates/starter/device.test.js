import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DeviceBench, loopback, openDriver } from 'virtio-misc';
import makeDevice, { Request, Response } from './device.ts';

/** Sends one request to a device on the bench. */
function add(bench, a, b) {
  return bench.call('requestq', Request, { a, b }, Response);
}

test('it adds, and tells the time by the clock it was given', async () => {
  const bench = new DeviceBench(makeDevice);
  // Nothing waits: this clock stands still until it is told.
  bench.advance(1500e6);
  assert.deepEqual(await add(bench, 2, 3), { sum: 5, uptime_ms: 1500 });
  assert.deepEqual(bench.lines, ['my-adder: 2 + 3 = 5']);
});

test('a sum wraps at 32 bits', async () => {
  assert.equal((await add(new DeviceBench(makeDevice), 0xffff_ffff, 2)).sum, 1);
});

test('a driver finds it, and has a thousand requests under way at once', async () => {
  const driver = await openDriver(loopback(makeDevice, { print: false }), {
    id: 60,
    features: 0n,
    queues: 1,
  });
  const numbers = Array.from({ length: 1000 }, (_, n) => n);
  const answers = await Promise.all(
    numbers.map((n) => driver.queues[0].call(Request, { a: n, b: n }, Response)),
  );
  assert.deepEqual(
    answers.map(({ sum }) => sum),
    numbers.map((n) => n + n),
  );
  await driver.close();
});
