import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loopback, openDriver } from 'virtio-misc';
import makeDevice from './device.ts';

test('what is sent comes back in capitals, in the buffers that were posted for it', async () => {
  const driver = await openDriver(loopback(makeDevice, { print: false }), {
    id: 3,
    features: 0n,
    queues: 2,
  });
  const [receiveq, transmitq] = driver.queues;
  const answers = [receiveq.request(new Uint8Array(), 3), receiveq.request(new Uint8Array(), 100)];
  await transmitq.request(new TextEncoder().encode('hello'), 0);
  const texts = (await Promise.all(answers)).map((bytes) => new TextDecoder().decode(bytes));
  assert.deepEqual(texts, ['HEL', 'LO']);
  await driver.close();
});
