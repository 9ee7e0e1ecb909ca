import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GuestAddress } from '../../../memory/address.js';
import { GuestMemory } from '../../../memory/guest-memory.js';
import { MappedView } from '../../../memory/mapped-view.js';
import { openDriver } from '../../../virtio/driver.js';
import { FakeClock } from '../../../virtio/testing/fake-clock.js';
import { VirtioPciFunction } from '../device/virtio-function.js';
import { DirectPlatform } from '../testing/direct-platform.js';
import { ProbeDevice } from '../testing/probe-device.js';
import { COMMON } from '../virtio-pci.js';
import { openPciDriver } from './driver.js';

/** A function whose queue reset takes as many looks at `queue_reset` as are told. */
class SlowPlatform extends DirectPlatform {
  readonly memory: GuestMemory = new GuestMemory();
  readonly work: (() => void)[] = [];
  looks = 0;
  patience = 0;
  pauses = 0;
  #resetting = false;

  constructor(device: ProbeDevice) {
    super();
    this.memory.add({
      start: 0x1_0000_0000 as GuestAddress,
      view: new MappedView(new ArrayBuffer(1 << 20)),
    });
    this.function = new VirtioPciFunction(
      device,
      this.memory,
      { clock: new FakeClock(), defer: queueMicrotask, print: () => {}, warn: (line) => assert.fail(line) },
      {
        raise: (vector) => this.raise(vector),
        intx: (asserted) => this.intx(asserted),
        perform: (work) => {
          if (this.#resetting) this.work.push(work);
          else work();
        },
      },
    );
  }

  override postBar(bar: number, offset: number, bytes: Uint8Array): void {
    this.#resetting = offset === COMMON.queue_reset && this.patience > 0;
    super.postBar(bar, offset, bytes);
    this.#resetting = false;
  }

  override async readBar(bar: number, offset: number, length: number): Promise<Uint8Array> {
    if (bar === 0 && offset === COMMON.queue_reset) {
      this.looks += 1;
      if (this.looks === this.patience) for (const work of this.work.splice(0)) work();
    }
    return super.readBar(bar, offset, length);
  }

  override async pause(): Promise<void> {
    this.pauses += 1;
  }
}

test('2.6.1.1.2, 2.6.1.2.2, 4.1.4.3.2: a driver that resets a queue waits until that is done, and sets it up anew', async () => {
  const device = new ProbeDevice();
  const platform = new SlowPlatform(device);
  const driver = await openDriver(await openPciDriver(platform, platform.memory), {
    id: 70,
    features: 0n,
    queues: 2,
  });
  const answered = async (index: number): Promise<void> => {
    assert.deepEqual(await driver.queues[index]!.request(Uint8Array.of(1, 2), 2), Uint8Array.of(2, 1));
  };
  await answered(0);
  platform.patience = 5;
  const reset = driver.resetQueue(0, { queueSize: 16 });
  // It waits, and the other queue does not.
  const waiting = answered(0);
  await answered(1);
  await reset;
  platform.patience = 0;
  await waiting;
  assert.deepEqual([platform.looks, platform.pauses], [5, 4]);
  assert.equal(driver.queues[0]!.size, 16);
  // It may be larger again than it was.
  await driver.resetQueue(0, { queueSize: 64 });
  assert.equal(driver.queues[0]!.size, 64);
  for (let i = 0; i < 200; i++) await answered(i % 2);
  assert.equal(device.calls.includes('reset'), false);
  await driver.close();
});

test('2.6.1.1.2: a device that never finishes costs its driver the device, not its life', async () => {
  const platform = new SlowPlatform(new ProbeDevice());
  const driver = await openDriver(await openPciDriver(platform, platform.memory), {
    id: 70,
    features: 0n,
    queues: 1,
  });
  platform.patience = Number.POSITIVE_INFINITY;
  await assert.rejects(driver.resetQueue(0), {
    code: 'TIMEOUT',
    message: /does not finish its reset of queue 0/,
  });
  await assert.rejects(driver.queues[0]!.request(Uint8Array.of(1), 1), { code: 'TIMEOUT' });
  assert.equal((await driver.failure).message, 'the device does not finish its reset of queue 0');
});
