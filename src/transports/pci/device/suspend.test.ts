import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VIRTIO_F_SUSPEND, VIRTIO_F_VERSION_1 } from '../../../virtio/features.js';
import { FunctionBench } from '../testing/function-bench.js';
import { ProbeDevice } from '../testing/probe-device.js';
import * as virtio from '../virtio-pci.js';

const REQUEST = Uint8Array.of(1, 2, 3);
const ANSWER = Uint8Array.of(3, 2, 1);
const SUSPEND = virtio.VIRTIO_CONFIG_S_SUSPEND;
const DRIVER_OK = virtio.VIRTIO_CONFIG_S_DRIVER_OK;
const READY = 1 | 2 | 8;
const CONFIG = virtio.VIRTIO_PCI_CAP_DEVICE_CFG;

function started(features = VIRTIO_F_VERSION_1 | VIRTIO_F_SUSPEND): {
  device: ProbeDevice;
  bench: FunctionBench;
} {
  const device = new ProbeDevice();
  const bench = new FunctionBench(device);
  bench.start(features);
  bench.enableMsix();
  assert.deepEqual(bench.request(REQUEST, 3), ANSWER);
  return { device, bench };
}

function suspend(bench: FunctionBench): void {
  bench.setCommon('device_status', bench.status | SUSPEND);
  bench.settle();
}

test('3.4.2: a device stands still once its status says so: it takes nothing, tells nothing and goes on where it was', () => {
  const { device, bench } = started();
  suspend(bench);
  assert.equal(bench.status, READY | SUSPEND);
  const raised = bench.raised.length;
  bench.driver.send([REQUEST], [3]);
  bench.notify();
  // Twice is once.
  suspend(bench);
  bench.clock.advance(1e9);
  bench.settle();
  assert.equal(bench.driver.receive(), undefined);
  assert.equal(bench.raised.length, raised);
  bench.setCommon('device_status', bench.status | DRIVER_OK);
  bench.settle();
  assert.equal(bench.status, READY | DRIVER_OK);
  assert.deepEqual(bench.driver.receive()?.bytes, ANSWER);
  assert.equal(device.calls.includes('reset'), false);
  assert.deepEqual(bench.request(REQUEST, 3), ANSWER);
  assert.deepEqual(bench.warnings, []);
});

test('3.4.2: its configuration stays as it was, whoever writes to it, and a change is told when it goes on', () => {
  const { device, bench } = started();
  bench.write(CONFIG, 8, 2, 0x1234);
  suspend(bench);
  device.calls.length = 0;
  bench.write(CONFIG, 8, 2, 0x5678);
  device.config.view.setUint32(0, 77, true);
  device.host!.configChanged();
  assert.deepEqual([bench.read(CONFIG, 8, 2), bench.read(CONFIG, 0, 4)], [0x1234, 0]);
  const raised = bench.raised.length;
  assert.deepEqual(device.calls, []);
  bench.setCommon('device_status', bench.status | DRIVER_OK);
  assert.deepEqual([bench.read(CONFIG, 8, 2), bench.read(CONFIG, 0, 4)], [0x1234, 77]);
  assert.equal(bench.raised.slice(raised).includes(0), true);
});

test('3.4.2: SUSPEND is nothing to a device that was not started, or whose driver did not accept it', () => {
  const bench = new FunctionBench(new ProbeDevice());
  bench.negotiate(VIRTIO_F_VERSION_1 | VIRTIO_F_SUSPEND);
  suspend(bench);
  assert.equal(bench.status, READY);
  const { bench: without } = started(VIRTIO_F_VERSION_1);
  suspend(without);
  assert.equal(without.status, READY | DRIVER_OK);
  assert.deepEqual(without.request(REQUEST, 3), ANSWER);
});

test('3.4.2: a reset of a device that stands still, or is about to, is a reset; and it runs again after it', () => {
  for (const settled of [true, false]) {
    const { bench } = started();
    bench.setCommon('device_status', bench.status | SUSPEND);
    if (settled) bench.settle();
    bench.setCommon('device_status', 0);
    bench.settle();
    bench.clock.advance(10e9);
    assert.equal(bench.status, 0);
    bench.driver.memory.write(bench.driver.device.deviceArea, new Uint8Array(8));
    bench.start(VIRTIO_F_VERSION_1 | VIRTIO_F_SUSPEND);
    assert.equal(bench.status, READY | DRIVER_OK);
    assert.equal(bench.clock.open, 0);
  }
});

test('3.4.2: bus mastering that is taken away and given back does not wake it', () => {
  const { bench } = started();
  suspend(bench);
  bench.setConfig(4, 2, 2);
  bench.setConfig(4, 2, 6);
  bench.driver.send([REQUEST], [3]);
  bench.notify();
  assert.equal(bench.driver.receive(), undefined);
  assert.equal(bench.status, READY | SUSPEND);
  bench.setCommon('device_status', bench.status | DRIVER_OK);
  assert.deepEqual(bench.driver.receive()?.bytes, ANSWER);
});
