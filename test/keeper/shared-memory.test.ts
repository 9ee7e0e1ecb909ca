import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { connectVhostUser } from '../../src/connect.js';
import { openDriver } from '../../src/virtio/driver.js';
import { deaths, servingPid } from './keeper-process.js';
import { folder, log, serving, socket } from './place.js';

/** Adds 1 to a number in its shared memory with each request. */
const COUNTER = `
  import { defineDevice } from 'virtio-misc';
  export default defineDevice({
    id: 45,
    name: 'counter',
    sharedMemory: [{ id: 3, size: 8192 }],
    queues: [{
      name: 'requestq',
      handle: (chain, { sharedMemory }) => {
        const number = sharedMemory.get(3).view(4096, 4);
        number.write32(0, number.read32(0) + 1);
        chain.write(new Uint8Array([number.read32(0)]));
      },
    }],
  });
`;

test('2.10: what a device shares with its driver is the same memory after its worker died', async () => {
  const file = join(folder, 'counter.mjs');
  writeFileSync(file, COUNTER);
  const keeper = await serving(socket, log, [file, '--no-watch', '--no-type-check']);
  const driver = await openDriver(await connectVhostUser(socket), { id: 45, features: 0n, queues: 1 });
  const add = async (): Promise<number[]> => [...(await driver.queues[0]!.request(Uint8Array.of(1), 1))];
  const window = (await driver.sharedMemory()).get(3)!;
  let counted = 0;
  for (let kills = 0; kills < 3; kills++) {
    for (let i = 0; i < 5; i++) {
      assert.deepEqual(await add(), [++counted]);
      assert.deepEqual([...(await window.read(4096, 4))], [counted, 0, 0, 0]);
    }
    // The driver writes where the next worker has to see it.
    counted += 50;
    await window.write(4096, new Uint8Array([counted]));
    process.kill(servingPid(keeper.pid!, 'memfd:virtio-misc-shared')!, 'SIGKILL');
  }
  assert.deepEqual(await add(), [counted + 1]);
  assert.equal(deaths(log).length, 3);
  assert.doesNotMatch(readFileSync(log, 'utf8'), /does not map|dropped/);
  await driver.close();
});
