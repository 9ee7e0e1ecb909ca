import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Running } from '../../virtio/chain-queue.js';
import { defineDevice } from '../../virtio/define-device.js';
import { openDriver } from '../../virtio/driver.js';
import { FakeClock } from '../../virtio/testing/fake-clock.js';
import { Loopback } from './loopback.js';

test('2.10 over loopback: what a defined device writes its driver sees, and the other way round', async () => {
  const seen: number[] = [];
  const make = defineDevice({
    id: 60,
    name: 'window',
    sharedMemory: [
      { id: 0, size: 4096 },
      { id: 9, size: 4096, files: true },
    ],
    queues: [
      {
        name: 'requestq',
        handle: (chain, device: Running<Record<never, never>>) => {
          const [offset] = chain.readRest();
          const region = device.sharedMemory.get(0)!;
          const byte = new Uint8Array(1);
          region.read(offset!, byte);
          seen.push(byte[0]!);
          region.write(offset!, Uint8Array.of(byte[0]! + 1));
        },
      },
    ],
  });
  const transport = new Loopback(make(), {
    clock: new FakeClock(),
    defer: queueMicrotask,
    print: () => {},
    warn: (line) => assert.fail(line),
  });
  const driver = await openDriver(transport, { id: 60, features: 0n, queues: 1 });
  const regions = await driver.sharedMemory();
  await regions.get(0)!.write(7, Uint8Array.of(41));
  await driver.queues[0]!.request(Uint8Array.of(7), 0);
  assert.deepEqual([...(await regions.get(0)!.read(7, 1))], [42]);
  assert.deepEqual(seen, [41]);
  await assert.rejects(regions.get(9)!.read(0, 1), { code: 'UNMAPPED' });
  await driver.close();
});

test('2.10: regions that can not be are refused, with the place', () => {
  const queues = [{ name: 'q' }];
  for (const [sharedMemory, text] of [
    [{}, /sharedMemory: take a list/],
    [[5], /sharedMemory\[0\] is the number 5/],
    [[{ id: 256, size: 4096 }], /sharedMemory\[0\] has .*256 for its id/],
    [[{ id: 0, size: 100 }], /has .*100 for its size: take a multiple of 4096/],
    [[{ id: 0, size: 0 }], /has .*0 for its size/],
    [[{ id: 0, size: 4096, files: 1 }], /has .*1 for files/],
    [[{ id: 0, size: 4096, writable: true }], /writable/],
    [
      [
        { id: 4, size: 4096 },
        { id: 4, size: 4096 },
      ],
      /two regions of shared memory have the id 4/,
    ],
  ] as const)
    assert.throws(
      () => defineDevice({ id: 60, name: 'x', queues, sharedMemory: sharedMemory as never }),
      text,
    );
});
