import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigSpace } from '../../../virtio/config-space.js';
import type { VirtioDevice } from '../../../virtio/device.js';
import * as pci from '../pci-registers.js';
import { FunctionBench } from '../testing/function-bench.js';
import { ProbeDevice } from '../testing/probe-device.js';
import * as virtio from '../virtio-pci.js';

test('4.1.2: the ids name a virtio device, and the subsystem id which', () => {
  const bench = new FunctionBench(new ProbeDevice(2, 70));
  assert.equal(bench.config(pci.PCI_VENDOR_ID, 2), 0x1af4);
  assert.equal(bench.config(pci.PCI_DEVICE_ID, 2), 0x103f);
  assert.equal(bench.config(pci.PCI_REVISION_ID, 1), 1);
  assert.equal(bench.config(pci.PCI_CLASS_PROG, 3), 0x00ff00);
  assert.equal(bench.config(pci.PCI_SUBSYSTEM_VENDOR_ID, 2), 0x1af4);
  assert.equal(bench.config(pci.PCI_SUBSYSTEM_ID, 2), 70);
  assert.equal(bench.config(pci.PCI_HEADER_TYPE, 1), 0);
  assert.equal(bench.config(pci.PCI_INTERRUPT_PIN, 1), 1);

  const test45 = new FunctionBench(new ProbeDevice(1, 45));
  assert.equal(test45.config(pci.PCI_DEVICE_ID, 2), 0x1013);
  assert.equal(test45.config(pci.PCI_SUBSYSTEM_ID, 2), 45);
});

test('4.1.2, 4.1.2.1: ids below 64 are non-transitional: 0x1040 and the id, a subsystem id of 0x40 or more', () => {
  for (let id = 1; id < 64; id++) {
    if (id === 45) continue;
    const bench = new FunctionBench(new ProbeDevice(1, id));
    assert.equal(bench.config(pci.PCI_DEVICE_ID, 2), 0x1040 + id);
    assert.ok(bench.config(pci.PCI_SUBSYSTEM_ID, 2) >= 0x40);
    assert.ok(bench.config(pci.PCI_REVISION_ID, 1) >= 1);
  }
  for (const id of [64, 65, 1000]) {
    const bench = new FunctionBench(new ProbeDevice(1, id));
    assert.deepEqual(
      [bench.config(pci.PCI_DEVICE_ID, 2), bench.config(pci.PCI_SUBSYSTEM_ID, 2)],
      [0x103f, id],
    );
  }
});

test('PCI 6.2.5.1: writing ones to a BAR reads back its size, and only address bits stay', () => {
  const bench = new FunctionBench(new ProbeDevice());
  for (const { index, size } of bench.function.bars) {
    const at = pci.PCI_BASE_ADDRESS_0 + 4 * index;
    bench.setConfig(at, 4, 0xffff_ffff);
    assert.equal(bench.config(at, 4), (~(size - 1) & ~0xf) >>> 0);
    bench.setConfig(at, 4, 0xfebd_1234);
    assert.equal(bench.config(at, 4), (0xfebd_1234 & ~(size - 1)) >>> 0);
  }
  const absent = pci.PCI_BASE_ADDRESS_0 + 4 * 5;
  bench.setConfig(absent, 4, 0xffff_ffff);
  assert.equal(bench.config(absent, 4), 0);
});

test('an I/O BAR says so, sizes to at most 256 ports, and needs I/O enable', () => {
  const bench = new FunctionBench(new ProbeDevice(), { bar: 2, kind: 'io', vectors: 0 });
  const at = pci.PCI_BASE_ADDRESS_0 + 8;
  bench.setConfig(at, 4, 0xffff_ffff);
  assert.equal(bench.config(at, 4) & 3, pci.PCI_BASE_ADDRESS_SPACE_IO);
  const size = (~(bench.config(at, 4) & ~3) >>> 0) + 1;
  assert.ok(size <= 256, `${size} ports`);
  assert.equal(bench.common('num_queues'), 2);
  bench.setConfig(pci.PCI_COMMAND, 2, pci.PCI_COMMAND_MEMORY);
  assert.equal(bench.common('num_queues'), 0);
  assert.throws(() => new FunctionBench(new ProbeDevice(100), { kind: 'io' }), RangeError);
});

test('PCI 6.2.2: with memory enable off, registers read as zero and ignore writes', () => {
  const bench = new FunctionBench(new ProbeDevice());
  bench.setConfig(pci.PCI_COMMAND, 2, pci.PCI_COMMAND_MASTER);
  bench.setCommon('device_status', 1);
  assert.equal(bench.common('num_queues'), 0);
  bench.setConfig(pci.PCI_COMMAND, 2, pci.PCI_COMMAND_MEMORY | pci.PCI_COMMAND_MASTER);
  assert.equal(bench.common('num_queues'), 2);
  assert.equal(bench.status, 0);
});

test('read-only bytes of the header and of the capabilities stay as they are', () => {
  const bench = new FunctionBench(new ProbeDevice());
  const window = bench.places.get(virtio.VIRTIO_PCI_CAP_PCI_CFG)!.at;
  const before = bench.function.readConfig(0, 256);
  for (let at = 0; at < 256; at++) {
    const writable =
      (at >= 0x04 && at < 0x06) ||
      (at >= 0x10 && at < 0x28) ||
      at === pci.PCI_INTERRUPT_LINE ||
      at === bench.msix + pci.PCI_MSIX_FLAGS + 1 ||
      (at >= window + 4 && at < window + 20);
    if (!writable) bench.setConfig(at, 1, ~before[at]! & 0xff);
  }
  assert.deepEqual(bench.function.readConfig(0, 256), before);
});

test('4.1.4: the capability list has each structure once, inside its BAR, aligned as it must be', () => {
  for (const options of [{}, { kind: 'io', vectors: 0 }] as const) {
    const bench = new FunctionBench(new ProbeDevice(), options);
    const types = [...bench.places.keys()].sort();
    assert.deepEqual(types, [1, 2, 3, 4, 5]);
    for (const [type, place] of bench.places) {
      if (type === virtio.VIRTIO_PCI_CAP_PCI_CFG) continue;
      const bar = bench.function.bars.find(({ index }) => index === place.bar)!;
      assert.ok(place.offset + place.length <= bar.size);
      if (type !== virtio.VIRTIO_PCI_CAP_ISR_CFG) assert.equal(place.offset % 4, 0);
    }
    assert.ok(bench.places.get(virtio.VIRTIO_PCI_CAP_COMMON_CFG)!.length >= virtio.COMMON.minimum);
    const parts = [1, 2, 3, 4].map((type) => bench.places.get(type)!).sort((a, b) => a.offset - b.offset);
    for (const [i, part] of parts.slice(1).entries()) {
      assert.ok(parts[i]!.offset + parts[i]!.length <= part.offset, 'structures overlap');
    }
  }
});

test('4.1.4.2: each capability says how long it is, each structure has room, and there are no more vectors than are of use', () => {
  for (const queues of [1, 2, 64]) {
    const bench = new FunctionBench(new ProbeDevice(queues));
    const capLen = (type: number): number => bench.config(bench.places.get(type)!.at + virtio.CAP.cap_len, 1);
    assert.deepEqual([1, 2, 3, 4, 5].map(capLen), [16, 20, 16, 16, 20]);
    const notify = bench.places.get(virtio.VIRTIO_PCI_CAP_NOTIFY_CFG)!;
    const multiplier = bench.config(notify.at + virtio.CAP.notify_off_multiplier, 4);
    assert.equal(multiplier, 4);
    bench.setCommon('queue_select', queues - 1);
    assert.ok(notify.length >= bench.common('queue_notify_off') * multiplier + 4);
    const vectors = bench.config(bench.msix + pci.PCI_MSIX_FLAGS, 2) & pci.PCI_MSIX_FLAGS_QSIZE;
    assert.equal(vectors + 1, 1 + queues);
  }
});

test('4.1.4.6: a device without a configuration space has no capability for one', () => {
  const device: VirtioDevice = Object.assign(new ProbeDevice(), { config: new ConfigSpace(0) });
  assert.equal(new FunctionBench(device).places.has(virtio.VIRTIO_PCI_CAP_DEVICE_CFG), false);
});

test('without vectors there is no MSI-X capability and no BAR for it', () => {
  const bench = new FunctionBench(new ProbeDevice(), { vectors: 0 });
  assert.deepEqual(
    bench.capabilities().filter(({ id }) => id === pci.PCI_CAP_ID_MSIX),
    [],
  );
  assert.equal(bench.function.bars.length, 1);
  for (const vectors of [1, 2, 3, 2048]) {
    const some = new FunctionBench(new ProbeDevice(), { vectors });
    const size = some.config(some.msix + pci.PCI_MSIX_FLAGS, 2) & pci.PCI_MSIX_FLAGS_QSIZE;
    assert.equal(size + 1, vectors);
  }
  for (const vectors of [-1, 2049, 1.5]) {
    assert.throws(() => new FunctionBench(new ProbeDevice(), { vectors }), RangeError);
  }
});

test('4.1.4.9: the configuration access window reads and writes registers, of 1, 2 and 4 bytes', () => {
  const bench = new FunctionBench(new ProbeDevice());
  // Works before the BARs are enabled: that is what it is for.
  bench.setConfig(pci.PCI_COMMAND, 2, 0);
  const cap = bench.places.get(virtio.VIRTIO_PCI_CAP_PCI_CFG)!.at;
  const common = bench.places.get(virtio.VIRTIO_PCI_CAP_COMMON_CFG)!;
  const point = (offset: number, length: number): void => {
    bench.setConfig(cap + virtio.CAP.bar, 1, common.bar);
    bench.setConfig(cap + virtio.CAP.offset, 4, common.offset + offset);
    bench.setConfig(cap + virtio.CAP.length, 4, length);
  };
  point(virtio.COMMON.num_queues, 2);
  assert.equal(bench.config(cap + virtio.CAP.pci_cfg_data, 2), 2);
  point(virtio.COMMON.device_status, 1);
  bench.setConfig(cap + virtio.CAP.pci_cfg_data, 4, 0xffff_ff03);
  assert.equal(bench.config(cap + virtio.CAP.pci_cfg_data, 1), 3);
  point(virtio.COMMON.device_feature_select, 4);
  bench.setConfig(cap + virtio.CAP.pci_cfg_data, 4, 1);
  point(virtio.COMMON.device_feature, 4);
  assert.equal(bench.config(cap + virtio.CAP.pci_cfg_data, 4) & 1, 1, 'VERSION_1');
  // A length that can't be, a BAR that is not there, an odd offset: nothing happens.
  point(virtio.COMMON.device_status, 3);
  bench.setConfig(cap + virtio.CAP.pci_cfg_data, 4, 0);
  point(virtio.COMMON.num_queues + 1, 2);
  bench.setConfig(cap + virtio.CAP.pci_cfg_data, 4, 0);
  point(virtio.COMMON.device_status, 1);
  bench.setConfig(cap + virtio.CAP.bar, 1, 200);
  bench.setConfig(cap + virtio.CAP.pci_cfg_data, 4, 0);
  point(virtio.COMMON.device_status, 1);
  assert.equal(bench.config(cap + virtio.CAP.pci_cfg_data, 1), 3);
});
