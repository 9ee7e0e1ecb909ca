import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GuestAddress } from '../../../memory/address.js';
import { defineDevice } from '../../../virtio/define-device.js';
import { VIRTIO_F_EVENT_IDX, VIRTIO_F_RING_RESET, VIRTIO_F_VERSION_1 } from '../../../virtio/features.js';
import { PCI_FEATURES } from '../../transport-features.js';
import * as pci from '../pci-registers.js';
import { FunctionBench } from '../testing/function-bench.js';
import { ProbeDevice } from '../testing/probe-device.js';
import * as virtio from '../virtio-pci.js';

const {
  VIRTIO_CONFIG_S_ACKNOWLEDGE: ACKNOWLEDGE,
  VIRTIO_CONFIG_S_DRIVER: DRIVER,
  VIRTIO_CONFIG_S_FEATURES_OK: FEATURES_OK,
  VIRTIO_CONFIG_S_DRIVER_OK: DRIVER_OK,
  VIRTIO_CONFIG_S_NEEDS_RESET: NEEDS_RESET,
} = virtio;
const READY = ACKNOWLEDGE | DRIVER | FEATURES_OK;
const REQUEST = Uint8Array.of(1, 2, 3);
const ANSWER = Uint8Array.of(3, 2, 1);

test('3.1.1: a driver initializes the device and has a request answered', () => {
  const device = new ProbeDevice();
  const bench = new FunctionBench(device);
  assert.equal(bench.negotiate(), READY);
  bench.enableQueue(0);
  assert.deepEqual(device.calls, []);
  bench.driverOk();
  assert.equal(bench.status, READY | DRIVER_OK);
  assert.equal(device.calls[0], 'activate 0');
  assert.deepEqual(bench.request(REQUEST, 3), ANSWER);
  assert.deepEqual(bench.warnings, []);
});

test('3.1.1: buffers that were there before DRIVER_OK are served with it', () => {
  const bench = new FunctionBench(new ProbeDevice());
  bench.driver.send([REQUEST], [3]);
  bench.driver.publish();
  bench.start();
  assert.deepEqual(bench.driver.receive()?.bytes, ANSWER);
});

test('3.1.1: a notification before DRIVER_OK is not acted on', () => {
  const device = new ProbeDevice();
  const bench = new FunctionBench(device);
  bench.negotiate();
  bench.enableQueue(0);
  bench.driver.send([REQUEST], [3]);
  bench.notify();
  assert.deepEqual(device.calls, []);
  assert.equal(bench.driver.receive(), undefined);
});

test('4.1.4.3: feature windows; windows that hold no feature read as zero', () => {
  const bench = new FunctionBench(new ProbeDevice());
  const offered = 0x5n | PCI_FEATURES.unlessTold;
  const window = (select: number): bigint => {
    bench.setCommon('device_feature_select', select);
    return BigInt(bench.common('device_feature'));
  };
  assert.equal(window(0) | (window(1) << 32n), offered);
  assert.equal(window(2), 0n);
  assert.equal(window(0xffff_ffff), 0n);
  bench.setFeatures(0x1_2345_6789n);
  bench.setCommon('driver_feature_select', 0);
  assert.equal(bench.common('driver_feature'), 0x2345_6789);
  bench.setCommon('driver_feature_select', 7);
  bench.setCommon('driver_feature', 0xffff_ffff);
  assert.equal(bench.common('driver_feature'), 0);
});

test('2.2: feature bits up to 127 are offered and taken', () => {
  const seen: bigint[] = [];
  const features = { LOW: 63, HIGH: 64, TOP: 127 };
  const activate = (device: { features: bigint }): void => void seen.push(device.features);
  const make = defineDevice({ id: 63, name: 'wide', features, queues: [{ name: 'q' }], activate });
  const bench = new FunctionBench(make());
  const windows = [1, 2, 3, 4].map((select) => {
    bench.setCommon('device_feature_select', select);
    return bench.common('device_feature') >>> 18;
  });
  assert.deepEqual(windows, [0x8000_0000 >>> 18, 0, 0x8000_0000 >>> 18, 0]);
  bench.setCommon('device_feature_select', 2);
  assert.equal(bench.common('device_feature'), 1);
  bench.start(VIRTIO_F_VERSION_1 | (1n << 127n) | (1n << 64n));
  assert.deepEqual(seen, [(1n << 127n) | (1n << 64n)]);
});

test('2.2.1: FEATURES_OK is refused for bits that were not offered, and for a driver without VERSION_1', () => {
  const bench = new FunctionBench(new ProbeDevice());
  assert.equal(bench.negotiate(VIRTIO_F_VERSION_1 | 0x2n), ACKNOWLEDGE | DRIVER);
  assert.equal(bench.negotiate(0x1n), ACKNOWLEDGE | DRIVER);
  assert.equal(bench.warnings.length, 2);
  assert.match(bench.warnings[0]!, /feature bits that were not offered: 1 /);
  assert.match(bench.warnings[1]!, /VERSION_1/);
  // The driver may try again with less.
  assert.equal(bench.negotiate(VIRTIO_F_VERSION_1 | 0x4n), READY);
});

test('3.1.1: features are settled with FEATURES_OK', () => {
  const device = new ProbeDevice();
  const bench = new FunctionBench(device);
  bench.negotiate(VIRTIO_F_VERSION_1 | 0x1n);
  bench.setFeatures(VIRTIO_F_VERSION_1 | 0x4n);
  bench.setCommon('driver_feature_select', 0);
  assert.equal(bench.common('driver_feature'), 1);
  bench.driverOk();
  assert.equal(device.calls[0], 'activate 1');
});

test('3.1.1: DRIVER_OK without FEATURES_OK is no start', () => {
  const device = new ProbeDevice();
  const bench = new FunctionBench(device);
  bench.setCommon('device_status', ACKNOWLEDGE | DRIVER | DRIVER_OK);
  assert.equal(bench.status, ACKNOWLEDGE | DRIVER | NEEDS_RESET);
  assert.deepEqual(device.calls, []);
  assert.equal(bench.warnings.length, 1);
});

test('2.1.1: status bits are only added; NEEDS_RESET is not the driver’s to set', () => {
  const bench = new FunctionBench(new ProbeDevice());
  bench.negotiate();
  bench.setCommon('device_status', ACKNOWLEDGE | NEEDS_RESET);
  assert.equal(bench.status, READY);
});

test('2.4: writing 0 to the status forgets all that the driver set up', () => {
  const device = new ProbeDevice();
  const bench = new FunctionBench(device);
  bench.enableMsix();
  bench.start(VIRTIO_F_VERSION_1 | 0x1n);
  device.host!.configChanged();
  bench.setCommon('device_status', 0);
  assert.equal(bench.status, 0);
  assert.equal(device.calls.at(-1), 'reset');
  assert.equal(bench.isr, 0);
  assert.equal(bench.common('config_msix_vector'), virtio.VIRTIO_MSI_NO_VECTOR);
  assert.equal(bench.common('queue_enable'), 0);
  assert.equal(bench.common('queue_size'), 64);
  assert.equal(bench.common('queue_msix_vector'), virtio.VIRTIO_MSI_NO_VECTOR);
  assert.equal(bench.common('queue_desc'), 0);
  assert.equal(bench.common('driver_feature'), 0);
  // MSI-X itself is the PCI function's affair.
  assert.notEqual(bench.config(bench.msix + pci.PCI_MSIX_FLAGS, 2) & pci.PCI_MSIX_FLAGS_ENABLE, 0);
  bench.start();
  assert.equal(device.calls.at(-2), 'activate 0');
});

test('4.1.4.3: until a reset is done the status does not read as 0', () => {
  const bench = new FunctionBench(new ProbeDevice());
  bench.start();
  bench.held = true;
  bench.setCommon('device_status', 0);
  assert.notEqual(bench.status, 0);
  bench.perform();
  assert.equal(bench.status, 0);
  // Also when it was 0 before: the driver would go on, and lose what it does.
  bench.setCommon('device_status', 0);
  assert.notEqual(bench.status, 0);
  bench.perform();
  assert.equal(bench.status, 0);
});

test('a reset of the function clears BARs, MSI-X and the command register too', () => {
  const bench = new FunctionBench(new ProbeDevice());
  const fresh = new FunctionBench(new ProbeDevice());
  fresh.setConfig(pci.PCI_COMMAND, 2, 0);
  bench.setConfig(pci.PCI_BASE_ADDRESS_0, 4, 0xfeb0_0000);
  bench.enableMsix();
  bench.start();
  let done = false;
  bench.function.reset(() => {
    done = true;
  });
  assert.equal(done, true);
  assert.deepEqual(bench.function.readConfig(0, 256), fresh.function.readConfig(0, 256));
  bench.setConfig(pci.PCI_COMMAND, 2, pci.PCI_COMMAND_MEMORY);
  assert.equal(bench.status, 0);
});

test('4.1.4.3: a queue that is not there has size 0 and takes nothing', () => {
  const device = new ProbeDevice();
  const bench = new FunctionBench(device);
  assert.equal(bench.common('num_queues'), 2);
  bench.setCommon('queue_select', 2);
  assert.equal(bench.common('queue_size'), 0);
  bench.setCommon('queue_enable', 1);
  bench.setCommon('queue_size', 8);
  assert.equal(bench.common('queue_enable'), 0);
  assert.equal(bench.common('queue_size'), 0);
  assert.equal(bench.common('queue_msix_vector'), virtio.VIRTIO_MSI_NO_VECTOR);
});

test('4.1.4.3.1: queue_size shows the driver’s size if that can be, the most otherwise', () => {
  const bench = new FunctionBench(new ProbeDevice());
  assert.equal(bench.common('queue_size'), 64);
  for (const [written, seen] of [
    [16, 16],
    [24, 64],
    [128, 64],
    [0, 64],
    [1, 1],
  ] as const) {
    bench.setCommon('queue_size', written);
    assert.equal(bench.common('queue_size'), seen);
  }
});

test('4.1.4.3: registers can be written in pieces of any width', () => {
  const bench = new FunctionBench(new ProbeDevice(2, 70, 512));
  const common = virtio.VIRTIO_PCI_CAP_COMMON_CFG;
  // 512 -> 16 by bytes passes through a size that can't be.
  bench.write(common, virtio.COMMON.queue_size, 1, 0x10);
  bench.write(common, virtio.COMMON.queue_size + 1, 1, 0x00);
  assert.equal(bench.common('queue_size'), 16);
  bench.write(common, virtio.COMMON.queue_msix_vector, 1, 0x01);
  bench.write(common, virtio.COMMON.queue_msix_vector + 1, 1, 0x00);
  assert.equal(bench.common('queue_msix_vector'), 1);
  // 64 bits at once, and a write across two fields.
  bench.write(common, virtio.COMMON.queue_desc, 8, 0x1_2345_6000);
  assert.equal(bench.read(common, virtio.COMMON.queue_desc, 4), 0x2345_6000);
  assert.equal(bench.read(common, virtio.COMMON.queue_desc + 4, 4), 1);
  assert.equal(bench.read(common, virtio.COMMON.queue_desc, 8), 0x1_2345_6000);
  bench.write(common, virtio.COMMON.queue_select, 4, 0x0020_0001);
  assert.equal(bench.common('queue_select'), 1);
  assert.equal(bench.common('queue_size'), 32);
  bench.write(common, virtio.COMMON.device_status - 2, 4, 0xff00_ffff + ACKNOWLEDGE * 0x1_0000);
  assert.equal(bench.status, ACKNOWLEDGE);
});

test('4.1.4.3.2: an enabled queue stays where it is', () => {
  const bench = new FunctionBench(new ProbeDevice());
  bench.start();
  const place = bench.common('queue_desc');
  bench.setCommon('queue_size', 32);
  bench.setAddress('queue_desc', 0 as GuestAddress);
  bench.setCommon('queue_enable', 0);
  assert.equal(bench.common('queue_size'), 8);
  assert.equal(bench.common('queue_desc'), place);
  assert.equal(bench.common('queue_enable'), 1);
  assert.deepEqual(bench.request(REQUEST, 3), ANSWER);
});

test('2.1.2: a ring that can’t be: one log line, NEEDS_RESET with a configuration interrupt, and a reset heals', () => {
  const places = [
    { descriptorArea: 0x1000 as GuestAddress },
    { driverArea: Number.NaN as GuestAddress },
    { deviceArea: 0x1_2345_0001 as GuestAddress },
    { size: 24 },
  ];
  for (const place of places) {
    const device = new ProbeDevice();
    const bench = new FunctionBench(device, { vectors: 0 });
    bench.negotiate();
    bench.enableQueue(0, place);
    assert.equal(bench.status & NEEDS_RESET, 0);
    bench.driverOk();
    assert.equal(bench.status & NEEDS_RESET, NEEDS_RESET);
    assert.equal(bench.warnings.length, 1, bench.warnings.join());
    assert.match(bench.warnings[0]!, /queue 0 \(queue0\) can't be used/);
    if (place.size !== undefined)
      assert.match(bench.warnings[0]!, /queue size 24 is no power of two in 1\.\.64/);
    assert.equal(bench.isr, virtio.VIRTIO_PCI_ISR_CONFIG);
    bench.setCommon('device_status', 0);
    bench.start();
    assert.deepEqual(bench.request(REQUEST, 3), ANSWER);
  }
});

test('2.1.2: a broken ring: NEEDS_RESET, and the other queue and a reset go on', () => {
  const device = new ProbeDevice();
  const bench = new FunctionBench(device, { vectors: 0 });
  bench.start();
  // An available index far ahead of what the ring holds.
  bench.driver.memory.write((bench.driver.device.driverArea + 2) as GuestAddress, Uint8Array.of(0xff, 0x7f));
  bench.write(virtio.VIRTIO_PCI_CAP_NOTIFY_CFG, 0, 2, 0);
  assert.equal(bench.status & NEEDS_RESET, NEEDS_RESET);
  assert.equal(bench.warnings.length, 1);
  assert.equal(bench.isr & virtio.VIRTIO_PCI_ISR_CONFIG, virtio.VIRTIO_PCI_ISR_CONFIG);
  bench.setCommon('device_status', 0);
  assert.equal(bench.status, 0);
});

test('a ring whose memory goes away is broken, not fatal', () => {
  const bench = new FunctionBench(new ProbeDevice());
  bench.start();
  const [region] = bench.driver.memory.clear();
  bench.write(virtio.VIRTIO_PCI_CAP_NOTIFY_CFG, 0, 2, 0);
  assert.equal(bench.status & NEEDS_RESET, NEEDS_RESET);
  bench.driver.memory.add(region!);
  bench.setCommon('device_status', 0);
  bench.driver.memory.write(bench.driver.device.deviceArea, new Uint8Array(8));
  bench.start();
  assert.equal(bench.status, READY | DRIVER_OK);
});

test('4.1.4.4: notifications of 2 and 4 bytes kick the queue at their address', () => {
  const device = new ProbeDevice();
  const bench = new FunctionBench(device);
  bench.start();
  bench.enableQueue(1);
  device.calls.length = 0;
  const notify = (offset: number, size: number): string[] => {
    bench.write(virtio.VIRTIO_PCI_CAP_NOTIFY_CFG, offset, size, 0);
    return device.calls.splice(0);
  };
  assert.deepEqual(notify(0, 2), ['notified 0']);
  assert.deepEqual(notify(0, 4), ['notified 0']);
  assert.deepEqual(notify(4, 2), ['notified 1']);
  assert.deepEqual(notify(0, 8), ['notified 0', 'notified 1']);
  // Behind the last queue, and the middle of a register: nothing.
  assert.deepEqual(notify(2, 2), []);
  assert.deepEqual(notify(8, 2), []);
  assert.equal(bench.read(virtio.VIRTIO_PCI_CAP_NOTIFY_CFG, 0, 4), 0);
});

test('4.1.4.3.1: config_generation changes once a changed configuration is read', () => {
  const device = new ProbeDevice();
  const bench = new FunctionBench(device);
  bench.start();
  const config = (): number => bench.read(virtio.VIRTIO_PCI_CAP_DEVICE_CFG, 0, 4);
  config();
  const before = bench.common('config_generation');
  config();
  assert.equal(bench.common('config_generation'), before);
  // 256 changes are not the same as none.
  for (let i = 0; i < 256; i++) {
    device.config.view.setUint32(0, i + 1, true);
    device.host!.configChanged();
  }
  assert.equal(config(), 256);
  assert.notEqual(bench.common('config_generation'), before);
});

test('2.5: the device configuration is read and written in any width, within what may be written', () => {
  const device = new ProbeDevice();
  const bench = new FunctionBench(device);
  const config = virtio.VIRTIO_PCI_CAP_DEVICE_CFG;
  for (let i = 0; i < 16; i++) device.config.view.setUint8(i, 0x10 + i);
  assert.equal(bench.read(config, 0, 4), 0x1312_1110);
  assert.equal(bench.read(config, 3, 2), 0x1413);
  bench.write(config, 7, 2, 0xbbaa);
  assert.equal(bench.read(config, 7, 2), 0xbb17);
  assert.deepEqual(device.calls, ['config 7 2']);
  bench.write(config, 0, 4, 0);
  assert.deepEqual(device.calls, ['config 7 2']);
});

test('2.5: what was written to the device configuration reads back before the device hears of it', () => {
  const device = new ProbeDevice();
  const bench = new FunctionBench(device);
  bench.held = true;
  bench.write(virtio.VIRTIO_PCI_CAP_DEVICE_CFG, 8, 4, 0x1234);
  assert.equal(bench.read(virtio.VIRTIO_PCI_CAP_DEVICE_CFG, 8, 4), 0x1234);
  assert.deepEqual(device.calls, []);
  bench.perform();
  assert.deepEqual(device.calls, ['config 8 4']);
});

test('2.6.1: a queue reset empties one queue, which can be enabled again elsewhere', () => {
  const device = new ProbeDevice();
  const bench = new FunctionBench(device);
  bench.start(VIRTIO_F_VERSION_1 | VIRTIO_F_RING_RESET);
  assert.deepEqual(bench.request(REQUEST, 3), ANSWER);
  bench.held = true;
  bench.setCommon('queue_reset', 1);
  assert.equal(bench.common('queue_reset'), 1);
  bench.perform();
  assert.equal(bench.common('queue_reset'), 0);
  assert.equal(bench.common('queue_enable'), 0);
  assert.equal(bench.common('queue_size'), 64);
  bench.held = false;
  device.calls.length = 0;
  bench.driver.send([REQUEST], [3]);
  bench.notify();
  assert.equal(bench.driver.receive(), undefined);
  const other = new FunctionBench(new ProbeDevice()).driver;
  bench.driver.memory.clear();
  for (const region of other.memory.regions) bench.driver.memory.add(region);
  bench.enableQueue(0, other.device);
  other.send([REQUEST], [3]);
  other.publish();
  bench.write(virtio.VIRTIO_PCI_CAP_NOTIFY_CFG, 0, 2, 0);
  assert.deepEqual(other.receive()?.bytes, ANSWER);
  assert.equal(device.calls.includes('reset'), false);
});

test('2.6.1: without RING_RESET there is no queue reset', () => {
  const bench = new FunctionBench(new ProbeDevice());
  bench.start();
  bench.setCommon('queue_reset', 1);
  assert.equal(bench.common('queue_enable'), 1);
  assert.deepEqual(bench.request(REQUEST, 3), ANSWER);
});

test('what was negotiated holds for the ring: EVENT_IDX', () => {
  const bench = new FunctionBench(new ProbeDevice());
  bench.start(VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX);
  bench.request(REQUEST, 3);
  // avail_event, behind the used ring's elements: the device asks for a kick with the next buffer.
  const event = new Uint8Array(2);
  bench.driver.memory.read((bench.driver.device.deviceArea + 4 + 8 * 8) as GuestAddress, event);
  assert.deepEqual([...event], [1, 0]);
});

test('PCI 6.2.2: a function that is no bus master stands still, and goes on where it was', () => {
  const device = new ProbeDevice();
  const bench = new FunctionBench(device);
  bench.start();
  let rang = 0;
  device.host!.clock.alarm(() => rang++).set(device.host!.clock.now() + 10);
  bench.setConfig(pci.PCI_COMMAND, 2, pci.PCI_COMMAND_MEMORY);
  bench.driver.send([REQUEST], [3]);
  bench.notify();
  bench.clock.advance(1000);
  assert.equal(bench.driver.receive(), undefined);
  assert.equal(rang, 0);
  bench.setConfig(pci.PCI_COMMAND, 2, pci.PCI_COMMAND_MEMORY | pci.PCI_COMMAND_MASTER);
  assert.deepEqual(bench.driver.receive()?.bytes, ANSWER);
  bench.clock.advance(10);
  assert.equal(rang, 1);
});

test('a device that comes to life before the bus is mastered waits for that', () => {
  const device = new ProbeDevice();
  const bench = new FunctionBench(device);
  bench.setConfig(pci.PCI_COMMAND, 2, pci.PCI_COMMAND_MEMORY);
  bench.start();
  assert.deepEqual(device.calls, []);
  bench.setConfig(pci.PCI_COMMAND, 2, pci.PCI_COMMAND_MEMORY | pci.PCI_COMMAND_MASTER);
  assert.equal(device.calls[0], 'activate 0');
});

test('what an access leads to is not done before the host says so', () => {
  const device = new ProbeDevice();
  const bench = new FunctionBench(device);
  bench.negotiate();
  bench.enableQueue(0);
  bench.held = true;
  bench.driverOk();
  bench.driver.send([REQUEST], [3]);
  bench.notify();
  assert.deepEqual(device.calls, []);
  bench.perform();
  assert.deepEqual(bench.driver.receive()?.bytes, ANSWER);
});

test('accesses outside of every register read as zero and change nothing', () => {
  const bench = new FunctionBench(new ProbeDevice());
  const { bar } = bench.places.get(virtio.VIRTIO_PCI_CAP_COMMON_CFG)!;
  const { size } = bench.function.bars.find(({ index }) => index === bar)!;
  bench.function.writeBar(bar, size - 64, new Uint8Array(64).fill(0xff));
  assert.deepEqual([...new Set(bench.function.readBar(bar, size - 64, 64))], [0]);
  assert.deepEqual([...bench.function.readBar(5, 0, 4)], [0, 0, 0, 0]);
  bench.function.writeBar(5, 0, Uint8Array.of(1));
  assert.equal(bench.read(virtio.VIRTIO_PCI_CAP_COMMON_CFG, 0x3c, 4), 0);
});
