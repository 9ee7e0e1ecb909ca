import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Loopback } from '../../transports/loopback/loopback.js';
import { ConfigSpace } from '../../virtio/config-space.js';
import type { DeviceHost, DeviceQueue, VirtioDevice } from '../../virtio/device.js';
import { FakeClock } from '../../virtio/testing/fake-clock.js';
import type { Chain } from '../../virtqueue/chain.js';
import { MiscDriver } from './driver.js';
import * as wire from './wire.js';

const ALL = wire.VIRTIO_MISC_F_CANCEL | wire.VIRTIO_MISC_F_PERIODIC | wire.VIRTIO_MISC_F_NSEC;

/** A device that answers and notifies as the test says. */
class ScriptedDevice implements VirtioDevice {
  readonly id = wire.VIRTIO_ID_MISC;
  readonly name = 'scripted';
  readonly features: bigint;
  readonly queues = [
    { name: 'controlq', size: 64 },
    { name: 'notifyq', size: 64 },
  ];
  readonly config = new ConfigSpace(wire.CONFIG.size, [[0, wire.CONFIG.size]]);
  /** Words of each request, in order, and the room of each for an answer. */
  readonly requests: number[][] = [];
  readonly rooms: number[] = [];
  readonly buffers: Chain[] = [];
  configWrites = 0;
  host!: DeviceHost;
  /** What happens before a request is answered with this. */
  answer: (request: readonly number[]) => number = () => wire.STATUS.OK;

  constructor(features: bigint = ALL) {
    this.features = features;
  }

  activate(host: DeviceHost): void {
    this.host = host;
  }

  queueNotified(queue: DeviceQueue): void {
    for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
      if (queue.index === wire.NOTIFYQ) {
        this.buffers.push(chain);
        continue;
      }
      const words = [...new Uint32Array(chain.readRest().slice().buffer)];
      this.requests.push(words);
      this.rooms.push(chain.writable);
      chain.write(new Uint8Array(Uint32Array.of(this.answer(words)).buffer));
      queue.push(chain);
    }
  }

  configWritten(): void {
    this.configWrites += 1;
  }

  notify(bytes: Uint8Array): void {
    const queue = this.host.queues[wire.NOTIFYQ]!;
    const chain = this.buffers.shift()!;
    chain.write(bytes);
    queue.push(chain);
    queue.flush();
  }
}

const words = (...values: number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer);
const expired = (id: number): Uint8Array => words(wire.VIRTIO_MISC_TIMER_EXPIRED, id, 1, 0);

function open(device: ScriptedDevice): Promise<MiscDriver> {
  const environment = {
    clock: new FakeClock(),
    defer: setImmediate,
    print: () => {},
    warn: (line: string) => assert.fail(line),
  };
  return MiscDriver.open(new Loopback(device, environment));
}

/** Lets what is on its way arrive. */
async function settle(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise(setImmediate);
}

test('what it sends: nothing reserved, room for a status, buffers of 16 bytes, and no configuration', async () => {
  const device = new ScriptedDevice();
  const driver = await open(device);
  const timer = await driver.setTimer(5, () => {}, undefined);
  await driver.startTimer({ delay: 7, interval: 9 }, () => {}, undefined);
  await timer.cancel();
  await settle();
  assert.deepEqual(device.requests, [
    [wire.VIRTIO_MISC_SET_TIMER, 5, 1],
    [wire.VIRTIO_MISC_SET_TIMER_NS, 2, 7, 0, 9, 0],
    [wire.VIRTIO_MISC_CANCEL_TIMER, 0, 1],
  ]);
  assert.deepEqual(device.rooms, [4, 4, 4]);
  assert.deepEqual([...new Set(device.buffers.map(({ writable }) => writable))], [16]);
  assert.equal(device.configWrites, 0);
  await driver.close();
});

test('a timer that the device has no feature for is refused, and not sent', async () => {
  for (const features of [0n, wire.VIRTIO_MISC_F_PERIODIC, wire.VIRTIO_MISC_F_NSEC]) {
    const device = new ScriptedDevice(features);
    const driver = await open(device);
    await assert.rejects(
      driver.startTimer({ delay: 1, interval: 1 }, () => {}, undefined),
      { code: 'UNSUPPORTED' },
    );
    assert.deepEqual(device.requests, []);
    await driver.close();
  }
});

test('an id is used again only when its timer is over: not while its cancellation is on the way, nor after a refusal', async () => {
  const device = new ScriptedDevice();
  const driver = await open(device);
  device.answer = ([type]) =>
    type === wire.VIRTIO_MISC_CANCEL_TIMER ? wire.STATUS.NOT_FOUND : wire.STATUS.OK;
  const first = await driver.setTimer(5, () => {}, undefined);
  const cancelling = first.cancel();
  const second = await driver.setTimer(5, () => {}, undefined);
  assert.equal(await cancelling, false);
  device.answer = () => wire.STATUS.NO_SPACE;
  await assert.rejects(
    driver.setTimer(5, () => {}, undefined),
    { code: 'NO_SPACE' },
  );
  device.answer = () => wire.STATUS.OK;
  const third = await driver.setTimer(5, () => {}, undefined);
  assert.equal(new Set([first.id, second.id, third.id]).size, 3);
  await driver.close();
});

test('a notification that comes before the answer is the timer’s all the same', async () => {
  const device = new ScriptedDevice();
  const driver = await open(device);
  await settle();
  device.answer = ([, , id]) => {
    device.notify(expired(id!));
    return wire.STATUS.OK;
  };
  const calls: string[] = [];
  const timer = await driver.setTimer(0, (context) => calls.push(context), 'mine');
  await settle();
  assert.deepEqual(calls, ['mine']);
  assert.equal(await timer.cancel(), false);
  await driver.close();
});

test('a notification that makes no sense is nobody’s, and its buffer is posted again', async () => {
  const device = new ScriptedDevice();
  const driver = await open(device);
  const calls: number[] = [];
  const timer = await driver.setTimer(5, (_, expirations) => calls.push(expirations), undefined);
  await settle();
  const before = device.buffers.length;
  for (const bytes of [
    words(wire.VIRTIO_MISC_TIMER_EXPIRED),
    words(),
    words(2, timer.id, 1, 0),
    expired(timer.id + 1),
    expired(0xffff_ffff),
  ]) {
    device.notify(bytes);
  }
  await settle();
  assert.deepEqual(calls, []);
  assert.equal(device.buffers.length, before);
  // Without a count it is one; a second of the same timer is nobody's.
  device.notify(words(wire.VIRTIO_MISC_TIMER_EXPIRED, timer.id));
  device.notify(expired(timer.id));
  await settle();
  assert.deepEqual(calls, [1]);
  await driver.close();
});
