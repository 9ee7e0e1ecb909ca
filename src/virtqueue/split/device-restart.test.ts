import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GuestAddress } from '../../memory/address.js';
import { GuestMemory } from '../../memory/guest-memory.js';
import { MappedView } from '../../memory/mapped-view.js';
import type { DeviceQueueOptions } from '../device-queue-options.js';
import { PoliteDriver } from '../testing/polite-driver.js';
import { RingWriter } from '../testing/ring-writer.js';
import { VirtqueueError } from '../virtqueue-error.js';
import { SplitDeviceQueue } from './device.js';

const refusal = (code: string) => (error: unknown) => error instanceof VirtqueueError && error.code === code;

function refuses(code: string, change: Partial<Record<keyof DeviceQueueOptions, unknown>>): void {
  const options = { ...new PoliteDriver().device, ...change } as DeviceQueueOptions;
  assert.throws(() => new SplitDeviceQueue(options), refusal(code), JSON.stringify(change));
}

test('2.7: a queue size that is no power of two up to 32768 is refused', () => {
  for (const size of [0, 3, 6, 65536, -8, 1.5, Number.NaN, 2 ** 32]) refuses('QUEUE_SIZE', { size });
});

test('2.7.6: a next available index of more than 16 bits is refused', () => {
  for (const base of [-1, 65536, 0.5, Number.NaN, 2 ** 32]) refuses('QUEUE_BASE', { base });
});

test('2.7: an area that is not aligned is refused', () => {
  const { descriptorArea, driverArea, deviceArea } = new PoliteDriver().device;
  for (const off of [1, 2, 4, 8]) refuses('AREA_ALIGNMENT', { descriptorArea: descriptorArea + off });
  for (const off of [1, 3]) refuses('AREA_ALIGNMENT', { driverArea: driverArea + off });
  for (const off of [1, 2, 3]) refuses('AREA_ALIGNMENT', { deviceArea: deviceArea + off });
});

test('2.7: a driver area at an address that is a multiple of 2 only is fine', () => {
  const options = new PoliteDriver().device;
  const driverArea = (options.driverArea + 2) as GuestAddress;
  assert.equal(new SplitDeviceQueue({ ...options, driverArea }).pop(), undefined);
});

test('2.7: an area outside guest memory, or cut in two by a border of regions, is refused', () => {
  const end = 0x1_2345_0000 + (1 << 20);
  for (const area of ['descriptorArea', 'driverArea', 'deviceArea']) {
    for (const address of [0, end, end - 16, 2 ** 52, Number.NaN, -16])
      refuses('AREA_UNMAPPED', { [area]: address });
    const memory = new GuestMemory();
    for (const start of [0, 4096]) {
      memory.add({ start: start as GuestAddress, view: new MappedView(new ArrayBuffer(4096)) });
    }
    const elsewhere = { memory, descriptorArea: 0, driverArea: 512, deviceArea: 1024 };
    refuses('AREA_UNMAPPED', { ...elsewhere, [area]: 4096 - 16 });
  }
});

test('2.7: areas in a region that lies askew in our own memory are refused, not fatal', () => {
  const memory = new GuestMemory();
  memory.add({ start: 0 as GuestAddress, view: new MappedView(new ArrayBuffer(8192), 1, 8000) });
  refuses('AREA_ALIGNMENT', { memory, descriptorArea: 0, driverArea: 1024, deviceArea: 2048 });
});

test('2.7.8: the used ring goes on where it stood, wherever the next available index is', () => {
  for (const [base, used] of [
    [5, 5],
    [2, 0xffff],
    [0xffff, 0xfffd],
    [8, 0],
  ] as const) {
    const driver = new PoliteDriver();
    const ring = new RingWriter(driver.device);
    ring.usedIndex = used;
    ring.availIndex = base;
    ring.descriptor(6, { address: driver.allocator.alloc(4).address, length: 4, flags: 2 });
    const device = new SplitDeviceQueue({ ...driver.device, base });
    assert.equal(device.pop(), undefined);
    if (base - used === driver.device.size) continue;
    ring.offer(6);
    const chain = device.pop()!;
    chain.write(Uint8Array.of(1, 2, 3));
    device.push(chain);
    device.publish();
    assert.deepEqual([ring.usedIndex, ring.used(used)], [(used + 1) & 0xffff, { id: 6, len: 3 }]);
    assert.equal(device.base, (base + 1) & 0xffff);
  }
});

test('2.7.8: more buffers lost than the queue has descriptors is refused', () => {
  const driver = new PoliteDriver();
  const ring = new RingWriter(driver.device);
  for (const [base, used] of [
    [9, 0],
    [0, 1],
    [0, 0x8000],
    [3, 0xfff0],
  ] as const) {
    ring.usedIndex = used;
    assert.throws(
      () => new SplitDeviceQueue({ ...driver.device, base }),
      refusal('USED_INDEX'),
      `${base} ${used}`,
    );
  }
});

test('2.7: a stopped queue goes on at its base: nothing is served twice or lost', () => {
  const driver = new PoliteDriver({ base: 0xfff0, eventIdx: true });
  let device = new SplitDeviceQueue(driver.device);
  const answers: number[] = [];
  for (let n = 0; n < 100; n++) {
    driver.send([Uint8Array.of(n)], [1]);
    driver.send([Uint8Array.of(n + 100)], [1]);
    driver.publish();
    const chain = device.pop()!;
    chain.write(chain.readRest());
    device.push(chain);
    device.publish();
    const { base } = device;
    device.close();
    assert.equal(device.base, base);
    device = new SplitDeviceQueue({ ...driver.device, base });
    const second = device.pop()!;
    second.write(second.readRest());
    device.push(second);
    device.publish();
    for (let answer = driver.receive(); answer !== undefined; answer = driver.receive())
      answers.push(answer.bytes[0]!);
  }
  assert.deepEqual(
    answers,
    Array.from({ length: 200 }, (_, i) => (i >> 1) + (i & 1) * 100),
  );
});

test('a change of guest memory that leaves the rings alone is not noticed', () => {
  const driver = new PoliteDriver();
  const device = new SplitDeviceQueue(driver.device);
  driver.send([Uint8Array.of(7)]);
  driver.publish();
  const chain = device.pop()!;
  driver.memory.add({ start: 0 as GuestAddress, view: new MappedView(new ArrayBuffer(16)) });
  assert.deepEqual([...chain.readRest()], [7]);
  device.push(chain);
  driver.memory.remove(0 as GuestAddress, 16);
  assert.equal(device.publish(), true);
  assert.ok(driver.receive());
});

test('rings that moved to other memory of ours are followed there', () => {
  const driver = new PoliteDriver();
  const device = new SplitDeviceQueue(driver.device);
  driver.send([Uint8Array.of(7)]);
  driver.publish();
  const [old] = driver.memory.clear();
  const copy = new Uint8Array(old!.view.length);
  old!.view.copyOut(0, copy, 0, copy.length);
  driver.memory.add({ start: old!.start, view: new MappedView(copy.buffer) });
  device.push(device.pop()!);
  device.publish();
  assert.equal(new RingWriter(driver.device).usedIndex, 1);
});

test('rings whose memory is gone break the queue, whatever is called first', () => {
  const calls: ((device: SplitDeviceQueue) => unknown)[] = [
    (device) => device.publish(),
    (device) => device.disableKicks(),
    (device) => device.enableKicks(),
    () => undefined,
  ];
  for (const call of calls) {
    const driver = new PoliteDriver();
    const device = new SplitDeviceQueue(driver.device);
    driver.send([Uint8Array.of(7)]);
    driver.send([Uint8Array.of(8)]);
    driver.publish();
    const chain = device.pop()!;
    const gone = driver.memory.clear();
    call(device);
    device.push(chain);
    assert.equal(device.publish(), false);
    assert.throws(() => device.pop(), refusal('AREA_UNMAPPED'));
    assert.equal(device.enableKicks(), true, 'so that somebody pops, and hears of it');
    for (const region of gone) driver.memory.add(region);
    assert.throws(() => device.pop(), refusal('AREA_UNMAPPED'), 'until it is reset');
    assert.equal(device.inFlight, 0);
  }
});
