import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openDriver } from '../../virtio/driver.js';
import { FakeClock } from '../../virtio/testing/fake-clock.js';
import { ProbeDevice } from '../pci/testing/probe-device.js';
import { FakeOs } from '../testing/fake-os.js';
import { vfioUser } from './device/server.js';
import { openVfioUser } from './driver/client.js';

const PAGE = 4096;
const MEMORY = [
  { id: 1, size: PAGE },
  { id: 2, size: 2 * PAGE },
];

async function during<T>(os: FakeOs, promise: Promise<T>): Promise<T> {
  let settled = false;
  const done = (): void => {
    settled = true;
  };
  promise.then(done, done);
  for (let turns = 0; !settled; turns++) {
    assert.ok(turns < 10_000, 'a promise that nobody keeps');
    os.run();
    await Promise.resolve();
  }
  return promise;
}

for (const [name, sharedMemory, mapped] of [
  ['a client maps the regions of a device', MEMORY, true],
  [
    'a client reaches them by messages where files come and go',
    [...MEMORY, { id: 3, size: PAGE, files: true }],
    false,
  ],
] as const) {
  test(`2.10 over vfio-user: ${name}`, async () => {
    const os = new FakeOs();
    const clock = new FakeClock();
    const device = Object.assign(new ProbeDevice(), { sharedMemory });
    const { channel, fd } = os.createChannel();
    const environment = {
      os,
      clock,
      defer: os.defer,
      print: () => {},
      warn: (line: string) => assert.fail(line),
    };
    const session = vfioUser()(os.adoptChannel(fd), device, environment, () => {});
    const transport = await during(os, openVfioUser(channel, { os, clock }, { memorySize: 1 << 16 }));
    const wants = { id: 70, features: 0x5n, queues: 2, queueSize: 8 };
    const driver = await during(os, openDriver(transport, wants));
    const regions = await during(os, driver.sharedMemory());
    const [ours, theirs] = [device.host!.sharedMemory.get(2)!, regions.get(2)!];
    ours.write(2 * PAGE - 1, Uint8Array.of(5));
    assert.deepEqual([...(await during(os, theirs.read(2 * PAGE - 1, 1)))], [5]);
    await during(os, theirs.write(0, new Uint8Array(2 * PAGE).fill(6)));
    const read = new Uint8Array(2 * PAGE);
    ours.read(0, read);
    assert.ok(read.every((byte) => byte === 6));
    assert.deepEqual(
      [...(await during(os, regions.get(1)!.read(PAGE - 1, 1)))],
      [0],
      'the other one is another',
    );
    assert.equal(theirs.view(0, 4)?.read32(0), mapped ? 0x0606_0606 : undefined);
    await during(os, driver.close());
    session.close();
    os.run();
    assert.deepEqual([os.openFds, os.openMappings, os.staleAccesses, clock.open], [0, 0, 0, 0]);
  });
}
