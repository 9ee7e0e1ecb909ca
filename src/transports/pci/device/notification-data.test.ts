import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  VIRTIO_F_NOTIF_CONFIG_DATA,
  VIRTIO_F_NOTIFICATION_DATA,
  VIRTIO_F_VERSION_1,
} from '../../../virtio/features.js';
import { FunctionBench } from '../testing/function-bench.js';
import { ProbeDevice } from '../testing/probe-device.js';
import * as virtio from '../virtio-pci.js';

const REQUEST = Uint8Array.of(1, 2, 3);
const ANSWER = Uint8Array.of(3, 2, 1);

test('4.1.4.3: queue_notif_config_data names each queue, not by its index, and only where that was negotiated', () => {
  for (const negotiated of [true, false]) {
    const bench = new FunctionBench(new ProbeDevice());
    bench.negotiate(VIRTIO_F_VERSION_1 | (negotiated ? VIRTIO_F_NOTIF_CONFIG_DATA : 0n));
    const names = [0, 1, 2].map((index) => {
      bench.setCommon('queue_select', index);
      return bench.common('queue_notif_config_data');
    });
    assert.deepEqual(names, negotiated ? [0x8000, 0x8001, 0] : [0, 0, 0]);
    bench.setCommon('queue_select', 0);
    bench.setCommon('queue_notif_config_data', 0x1234);
    assert.equal(bench.common('queue_notif_config_data'), negotiated ? 0x8000 : 0);
  }
});

test('2.9, 4.1.5.2: a notification with data is one, wherever it says that the driver is, and of whichever queue', () => {
  const features = VIRTIO_F_VERSION_1 | VIRTIO_F_NOTIFICATION_DATA;
  for (const more of [0n, VIRTIO_F_NOTIF_CONFIG_DATA]) {
    const bench = new FunctionBench(new ProbeDevice());
    bench.start(features | more);
    // As it should be; then what a hostile driver writes.
    for (const value of [0x0001_0000, 0x0002_8000, 0xffff_ffff, 0, 0x8000_0000, 0x0000_0001]) {
      bench.driver.send([REQUEST], [3]);
      bench.driver.publish();
      bench.write(virtio.VIRTIO_PCI_CAP_NOTIFY_CFG, 0, 4, value);
      assert.deepEqual(bench.driver.receive()?.bytes, ANSWER, value.toString(16));
    }
    // None is there, whatever it says.
    bench.write(virtio.VIRTIO_PCI_CAP_NOTIFY_CFG, 0, 4, 0x7fff_0000);
    assert.equal(bench.driver.receive(), undefined);
    assert.deepEqual(bench.warnings, []);
    assert.equal(bench.status & virtio.VIRTIO_CONFIG_S_NEEDS_RESET, 0);
  }
});

test('4.1.5.2: a driver that sends 16 bits all the same, or one byte, is heard', () => {
  const bench = new FunctionBench(new ProbeDevice());
  bench.start(VIRTIO_F_VERSION_1 | VIRTIO_F_NOTIFICATION_DATA);
  for (const size of [2, 1]) {
    bench.driver.send([REQUEST], [3]);
    bench.driver.publish();
    bench.write(virtio.VIRTIO_PCI_CAP_NOTIFY_CFG, 0, size, 0);
    assert.deepEqual(bench.driver.receive()?.bytes, ANSWER);
  }
});
