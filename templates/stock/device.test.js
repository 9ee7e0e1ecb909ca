import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loopback, openDriver } from 'virtio-misc';
import { source } from './device.ts';

test('a buffer is filled with what the source gives', async () => {
  const make = source((size) => new Uint8Array(size).fill(7));
  const driver = await openDriver(loopback(make, { print: false }), { id: 4, features: 0n, queues: 1 });
  assert.deepEqual([...(await driver.queues[0].request(new Uint8Array(), 3))], [7, 7, 7]);
  assert.equal((await driver.queues[0].request(new Uint8Array(), 10_000)).length, 4096);
  await driver.close();
});
