import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GuestAddress } from '../../memory/address.js';
import { GuestMemory } from '../../memory/guest-memory.js';
import { MappedView } from '../../memory/mapped-view.js';
import { MemoryError } from '../../memory/memory-error.js';
import type { DeviceQueueOptions } from '../device-queue-options.js';
import { PoliteDriver } from '../testing/polite-driver.js';
import { VirtqueueError } from '../virtqueue-error.js';
import { PackedDeviceQueue } from './device.js';

const refusal = (code: string) => (error: unknown) => error instanceof VirtqueueError && error.code === code;

function refuses(code: string, change: Partial<Record<keyof DeviceQueueOptions, unknown>>): void {
  const options = { ...new PoliteDriver({ packed: true }).device, ...change } as DeviceQueueOptions;
  assert.throws(() => new PackedDeviceQueue(options), refusal(code), JSON.stringify(change));
}

test('2.8: a queue size beyond 32768, or none, is refused', () => {
  for (const size of [0, 32769, 65536, -8, 1.5, Number.NaN]) refuses('QUEUE_SIZE', { size });
});

test('2.8.1: places that a ring does not have, or that are further apart than it is long, are refused', () => {
  // Of 8 descriptors.
  for (const base of [
    -1,
    2 ** 32,
    0.5,
    Number.NaN,
    0x8000_8008,
    0x8008_8000,
    0x7fff,
    0x8007_8006,
    0x8001_8000,
  ])
    refuses('QUEUE_BASE', { base });
});

test('2.8.10.1: an area that is not aligned is refused', () => {
  const { descriptorArea, driverArea, deviceArea } = new PoliteDriver({ packed: true }).device;
  for (const off of [1, 2, 4, 8]) refuses('AREA_ALIGNMENT', { descriptorArea: descriptorArea + off });
  for (const off of [1, 2, 3]) refuses('AREA_ALIGNMENT', { driverArea: driverArea + off });
  for (const off of [1, 2, 3]) refuses('AREA_ALIGNMENT', { deviceArea: deviceArea + off });
});

test('2.8.10.1: an area outside guest memory, or cut in two by a border of regions, is refused', () => {
  const end = 0x1_2345_0000 + (1 << 20);
  for (const area of ['descriptorArea', 'driverArea', 'deviceArea']) {
    for (const address of [0, end, 2 ** 52, Number.NaN, -16]) refuses('AREA_UNMAPPED', { [area]: address });
  }
  const memory = new GuestMemory();
  for (const start of [0, 4096]) {
    memory.add({ start: start as GuestAddress, view: new MappedView(new ArrayBuffer(4096)) });
  }
  refuses('AREA_UNMAPPED', { memory, descriptorArea: 4096 - 16, driverArea: 512, deviceArea: 1024 });
});

test('2.8.1: a stopped queue goes on at its base, from any place: nothing is served twice or lost', () => {
  for (let cut = 0; cut < 20; cut++) {
    const driver = new PoliteDriver({ packed: true, size: 5, eventIdx: true });
    let device = new PackedDeviceQueue(driver.device);
    const seen: number[] = [];
    for (let n = 0; n < 20; n++) {
      if (n === cut) {
        device.close();
        device = new PackedDeviceQueue({ ...driver.device, base: device.base });
      }
      driver.send([Uint8Array.of(n), Uint8Array.of(0)]);
      driver.publish();
      const chain = device.pop()!;
      seen.push(chain.readRest()[0]!);
      device.push(chain);
      device.publish();
      assert.ok(driver.receive() !== undefined);
    }
    assert.deepEqual(seen, [...seen.keys()]);
  }
});

test('2.8.1: what an earlier device took and never handed back stays with the driver', () => {
  const driver = new PoliteDriver({ packed: true, size: 4 });
  const first = new PackedDeviceQueue(driver.device);
  for (let n = 0; n < 3; n++) driver.send([Uint8Array.of(n)]);
  driver.publish();
  first.pop();
  first.pop();
  first.close();
  assert.equal(first.base, 0x8000_8002);
  const second = new PackedDeviceQueue({ ...driver.device, base: first.base });
  const chain = second.pop()!;
  assert.deepEqual([...chain.readRest()], [2]);
  second.push(chain);
  second.publish();
  assert.deepEqual([...driver.receive()!.request.readable].length, 1);
  assert.equal(driver.queue.free, 2);
});

test('a ring that moved to other memory of ours is followed there; one whose memory is gone breaks the queue', () => {
  const driver = new PoliteDriver({ packed: true });
  const device = new PackedDeviceQueue(driver.device);
  const [region] = driver.memory.regions;
  driver.send([Uint8Array.of(7)]);
  driver.publish();
  const bytes = new Uint8Array(region!.view.length);
  region!.view.copyOut(0, bytes, 0, bytes.length);
  driver.memory.clear();
  driver.memory.add({ start: region!.start, view: new MappedView(bytes.buffer) });
  const chain = device.pop()!;
  assert.deepEqual([...chain.readRest()], [7]);
  driver.memory.clear();
  device.push(chain);
  assert.deepEqual([device.publish(), device.enableKicks(), device.waiting], [false, true, false]);
  assert.throws(() => device.pop(), refusal('AREA_UNMAPPED'));
});

test('a queue that was closed leaves nothing that could touch guest memory', () => {
  const driver = new PoliteDriver({ packed: true });
  const device = new PackedDeviceQueue(driver.device);
  driver.send([Uint8Array.of(1)], [1]);
  driver.publish();
  const chain = device.pop()!;
  device.close();
  assert.deepEqual(
    [device.inFlight, device.pop(), device.publish(), device.enableKicks()],
    [0, undefined, false, false],
  );
  assert.throws(() => chain.readRest(), TypeError);
  assert.throws(() => device.push(chain), TypeError);
});

test('a chain that was pushed is stale, also when its object serves another', () => {
  const driver = new PoliteDriver({ packed: true });
  const device = new PackedDeviceQueue(driver.device);
  const held: ReturnType<typeof device.pop>[] = [];
  for (let n = 0; n < 6; n++) {
    driver.send([Uint8Array.of(n)]);
    driver.publish();
    const chain = device.pop()!;
    assert.deepEqual([...chain.readRest()], [n]);
    assert.ok(device.owns(chain));
    device.push(chain);
    assert.throws(() => device.push(chain), TypeError);
    held.push(chain);
    device.publish();
    driver.receive();
  }
  for (const chain of held) assert.throws(() => device.push(chain!), TypeError);
});

test('4.1.4.3: while memory may not be touched writes are kept, reads starve, and a starved chain begins anew', () => {
  const driver = new PoliteDriver({ packed: true });
  const device = new PackedDeviceQueue(driver.device);
  driver.send([Uint8Array.of(5)], [2]);
  driver.send([Uint8Array.of(6)], [2]);
  driver.publish();
  const [kept, starved] = [device.pop()!, device.pop()!];
  kept.readRest();
  device.suspend();
  assert.deepEqual([device.pop(), device.waiting, device.publish()], [undefined, false, false]);
  kept.write(Uint8Array.of(1, 2));
  assert.throws(
    () => starved.readRest(),
    (error) => error instanceof MemoryError && error.code === 'SUSPENDED',
  );
  assert.deepEqual([device.isStarved(kept), device.isStarved(starved)], [false, true]);
  assert.equal(device.lastStarved, starved);
  device.resume();
  device.push(kept);
  device.rewind(starved);
  assert.equal(device.lastStarved, undefined);
  assert.deepEqual([...starved.readRest()], [6]);
  device.push(starved);
  device.publish();
  assert.deepEqual([...driver.receive()!.bytes], [1, 2]);
  assert.deepEqual([...driver.receive()!.bytes], []);
});
