import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pciIdentity } from './pci-ids.js';

test('4.1.2: a device has the class that QEMU gives to its own with the same id', () => {
  // Read from QEMU 11.1.3 with query-pci.
  const classes: readonly (readonly [string, number, number])[] = [
    ['virtio-net-pci', 1, 0x02_00_00],
    ['virtio-blk-pci', 2, 0x01_00_00],
    ['virtio-serial-pci', 3, 0x07_80_00],
    ['virtio-rng-pci', 4, 0x00_ff_00],
    ['virtio-balloon-pci', 5, 0x00_ff_00],
    ['virtio-scsi-pci', 8, 0x01_00_00],
    ['virtio-9p-pci', 9, 0x00_02_00],
    ['vhost-user-rtc-pci', 17, 0x08_03_00],
    ['virtio-tablet-pci', 18, 0x09_80_00],
    ['virtio-crypto-pci', 20, 0x00_ff_00],
    ['virtio-iommu-pci', 23, 0x00_ff_00],
    ['virtio-mem-pci', 24, 0x00_ff_00],
    ['virtio-sound-pci', 25, 0x04_01_00],
    ['vhost-user-fs-pci', 26, 0x01_80_00],
    ['virtio-pmem-pci', 27, 0x00_ff_00],
    ['vhost-user-i2c-pci', 34, 0x07_80_00],
    ['vhost-user-gpio-pci', 41, 0x07_80_00],
  ];
  for (const [name, id, code] of classes) assert.equal(pciIdentity(id).class, code, name);
});

test('4.1.2: a device of nobody else, virtio-test and virtio-misc too, is one of the others', () => {
  for (const id of [45, 60, 70, 0xffff]) assert.equal(pciIdentity(id).class, 0x00_ff_00, `id ${id}`);
});
