import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { GuestAddress } from '../../../memory/address.js';
import type { DeviceQueue } from '../../../virtio/device.js';
import { featureBits, VIRTIO_F_RING_RESET, VIRTIO_F_VERSION_1 } from '../../../virtio/features.js';
import type { Chain } from '../../../virtqueue/chain.js';
import { PoliteDriver } from '../../../virtqueue/testing/polite-driver.js';
import { PCI_FEATURES } from '../../transport-features.js';
import { FunctionBench } from '../testing/function-bench.js';
import { ProbeDevice } from '../testing/probe-device.js';
import * as virtio from '../virtio-pci.js';

// Drivers that keep to the widths of registers, and to little else.

const {
  VIRTIO_CONFIG_S_ACKNOWLEDGE: ACKNOWLEDGE,
  VIRTIO_CONFIG_S_DRIVER: DRIVER,
  VIRTIO_CONFIG_S_FEATURES_OK: FEATURES_OK,
  VIRTIO_CONFIG_S_DRIVER_OK: DRIVER_OK,
  VIRTIO_CONFIG_S_FAILED: FAILED,
  VIRTIO_CONFIG_S_NEEDS_RESET: NEEDS_RESET,
} = virtio;
const READY = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK;
const REQUEST = Uint8Array.of(1, 2, 3);
const ANSWER = Uint8Array.of(3, 2, 1);

/** It keeps what it is sent. */
class KeepingDevice extends ProbeDevice {
  readonly kept: { queue: DeviceQueue; chain: Chain }[] = [];

  override queueNotified(queue: DeviceQueue): void {
    for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) this.kept.push({ queue, chain });
  }

  finish(): void {
    for (const { queue, chain } of this.kept.splice(0)) {
      chain.write(Uint8Array.of(9));
      queue.push(chain);
      queue.flush();
    }
  }
}

test('2.1.1: a status in another order, again, or with bits that there are not, starts the device once and stops nothing', () => {
  const device = new ProbeDevice();
  const bench = new FunctionBench(device);
  bench.setCommon('device_status', 0x30);
  assert.equal(bench.status, 0);
  // Features and a queue before the driver has said that it is there, and FEATURES_OK before all else.
  bench.setFeatures(VIRTIO_F_VERSION_1);
  bench.enableQueue(0);
  bench.setCommon('device_status', FEATURES_OK);
  assert.equal(bench.status, FEATURES_OK);
  bench.setCommon('device_status', FEATURES_OK | ACKNOWLEDGE);
  bench.setCommon('device_status', DRIVER_OK | DRIVER | 0x30);
  assert.equal(bench.status, READY);
  for (const again of [DRIVER_OK, FEATURES_OK, READY, ACKNOWLEDGE, NEEDS_RESET | 0x30])
    bench.setCommon('device_status', again);
  assert.equal(bench.status, READY);
  assert.deepEqual(bench.request(REQUEST, 3), ANSWER);
  bench.setCommon('device_status', FAILED);
  assert.equal(bench.status, READY | FAILED);
  assert.deepEqual(
    device.calls.filter((call) => /activate|reset/.test(call)),
    ['activate 0'],
  );
  assert.deepEqual(bench.warnings, []);
  // All bits at once: a driver that accepted nothing.
  const other = new FunctionBench(new ProbeDevice());
  other.setCommon('device_status', 0xff);
  assert.equal(other.status & (FEATURES_OK | DRIVER_OK), 0);
  for (let times = 0; times < 3; times++) {
    other.setCommon('device_status', 0);
    assert.equal(other.status, 0);
  }
  // A driver that has no use for queues, and then one that has.
  other.negotiate();
  other.driverOk();
  assert.equal(other.status, READY);
  other.setCommon('device_status', 0);
  other.start();
  assert.deepEqual(other.request(REQUEST, 3), ANSWER);
});

test('2.2.2: any subset of what is offered is accepted, whatever was before, and again after a reset', () => {
  const device = new ProbeDevice();
  const bench = new FunctionBench(device);
  const bits = featureBits(device.features | PCI_FEATURES.unlessTold).filter((bit) => bit !== 32);
  fc.assert(
    fc.property(fc.subarray(bits), (chosen) => {
      const features = chosen.reduce((all, bit) => all | (1n << BigInt(bit)), VIRTIO_F_VERSION_1);
      for (let times = 0; times < 2; times++) {
        bench.setCommon('device_status', 0);
        assert.equal(bench.negotiate(features), ACKNOWLEDGE | DRIVER | FEATURES_OK);
      }
    }),
  );
});

test('2.6.1.1.1: what a device holds of a queue that is reset reaches nobody; others run on, and it comes back in another size', () => {
  const device = new KeepingDevice();
  const bench = new FunctionBench(device, { vectors: 0 });
  bench.start(VIRTIO_F_VERSION_1 | VIRTIO_F_RING_RESET);
  const other = new PoliteDriver({ size: 8, eventIdx: false, indirect: false, start: 0x4_0000_0000 });
  bench.driver.memory.add(other.memory.regions[0]!);
  bench.enableQueue(1, other.device);
  for (const [index, driver] of [bench.driver, other].entries()) {
    driver.send([REQUEST], [3]);
    driver.publish();
    bench.write(virtio.VIRTIO_PCI_CAP_NOTIFY_CFG, 4 * index, 2, index);
  }
  assert.equal(device.kept.length, 2);
  bench.setCommon('queue_select', 0);
  // Twice is once.
  for (let times = 0; times < 2; times++) bench.setCommon('queue_reset', 1);
  assert.deepEqual([bench.common('queue_reset'), bench.common('queue_enable')], [0, 0]);
  const [first, second] = device.kept.splice(0);
  assert.throws(() => first!.chain.write(REQUEST), TypeError);
  first!.queue.push(first!.chain);
  first!.queue.flush();
  assert.equal(bench.driver.receive(), undefined);
  assert.equal(bench.isr, 0);
  device.kept.push(second!);
  device.finish();
  assert.deepEqual(other.receive()?.bytes, Uint8Array.of(9));
  assert.equal(bench.isr, virtio.VIRTIO_PCI_ISR_QUEUE);
  const fresh = new PoliteDriver({ size: 4, eventIdx: false, indirect: false, start: 0x5_0000_0000 });
  bench.driver.memory.add(fresh.memory.regions[0]!);
  bench.enableQueue(0, fresh.device);
  assert.deepEqual([bench.common('queue_size'), bench.common('queue_reset')], [4, 0]);
  fresh.send([REQUEST], [3]);
  fresh.publish();
  bench.write(virtio.VIRTIO_PCI_CAP_NOTIFY_CFG, 0, 2, 0);
  device.finish();
  assert.deepEqual(fresh.receive()?.bytes, Uint8Array.of(9));
  assert.deepEqual([bench.warnings, bench.status], [[], READY]);
});

test('4.1.4.3.1: a reset ends the reset of a queue, too', () => {
  const bench = new FunctionBench(new ProbeDevice());
  bench.start(VIRTIO_F_VERSION_1 | VIRTIO_F_RING_RESET);
  bench.held = true;
  bench.setCommon('queue_reset', 1);
  bench.setCommon('device_status', 0);
  bench.perform();
  assert.deepEqual([bench.status, bench.common('queue_reset'), bench.common('queue_enable')], [0, 0, 0]);
  bench.held = false;
  bench.driver.memory.write(bench.driver.device.deviceArea, new Uint8Array(8));
  bench.start();
  assert.deepEqual(bench.request(REQUEST, 3), ANSWER);
});

test('4.1.4.3: what is the device’s to say stays as it is', () => {
  const bench = new FunctionBench(new ProbeDevice());
  bench.start();
  const fields = [
    'device_feature',
    'num_queues',
    'config_generation',
    'queue_notify_off',
    'queue_notif_config_data',
  ] as const;
  const before = fields.map((field) => bench.common(field));
  for (const field of fields) bench.setCommon(field, 0xff);
  assert.deepEqual(
    fields.map((field) => bench.common(field)),
    before,
  );
  assert.deepEqual(bench.request(REQUEST, 3), ANSWER);
});

test('4.1.4.4: a kick of a queue that is not enabled, of one that is not there, or after a reset, reaches nobody', () => {
  const device = new ProbeDevice();
  const bench = new FunctionBench(device);
  const kick = (offset: number, value: number): void =>
    bench.write(virtio.VIRTIO_PCI_CAP_NOTIFY_CFG, offset, 2, value);
  bench.start();
  device.calls.length = 0;
  for (const [offset, value] of [
    [4, 1],
    [8, 2],
    [0xffe, 0xffff],
  ] as const) {
    kick(offset, value);
  }
  assert.deepEqual(device.calls, []);
  // The place says which queue, whatever is written there and whichever is selected.
  bench.setCommon('queue_select', 1);
  bench.driver.send([REQUEST], [3]);
  bench.driver.publish();
  kick(0, 0xffff);
  assert.deepEqual(bench.driver.receive()?.bytes, ANSWER);
  bench.driver.send([REQUEST], [3]);
  bench.driver.publish();
  bench.setCommon('device_status', 0);
  kick(0, 0);
  bench.settle();
  assert.equal(bench.driver.receive(), undefined);
  assert.deepEqual([bench.status, bench.isr], [0, 0]);
});

test('2.7: areas that lie over each other harm no queue but their own', () => {
  const start = new PoliteDriver().memory.regions[0]!.start;
  const place = fc.nat(32).map((at) => (start + 16 * at) as GuestAddress);
  fc.assert(
    fc.property(place, place, place, fc.uint8Array({ maxLength: 512 }), (desc, avail, used, junk) => {
      const bench = new FunctionBench(new ProbeDevice());
      bench.negotiate();
      const other = new PoliteDriver({ size: 8, eventIdx: false, indirect: false, start: 0x4_0000_0000 });
      bench.driver.memory.add(other.memory.regions[0]!);
      bench.driver.memory.write(start, junk);
      bench.enableQueue(0, { descriptorArea: desc, driverArea: avail, deviceArea: used });
      bench.enableQueue(1, other.device);
      bench.driverOk();
      for (let times = 0; times < 4; times++) {
        bench.write(virtio.VIRTIO_PCI_CAP_NOTIFY_CFG, 0, 2, 0);
        bench.settle();
      }
      assert.ok(bench.warnings.length <= 1, bench.warnings.join('\n'));
      other.send([REQUEST], [3]);
      other.publish();
      bench.write(virtio.VIRTIO_PCI_CAP_NOTIFY_CFG, 4, 2, 1);
      assert.deepEqual(other.receive()?.bytes, ANSWER);
    }),
    { numRuns: 200 },
  );
});
