import assert from 'node:assert/strict';
import { test } from 'node:test';
import { numbersOf } from '../../virtqueue/testing/numbers-of.js';
import { NOTIFICATION } from './notification.js';
import * as pci from './pci-registers.js';
import * as virtio from './virtio-pci.js';

/*
 * Both ends take their numbers from the same table, so no test of one against the other sees a wrong one: here each stands once
 * more, as its document has it.
 */

test('PCI 3.0 §6.1, §6.8.2: the configuration header and MSI-X', () => {
  assert.deepEqual(numbersOf(pci), {
    PCI_BASE_ADDRESS_0: 0x10,
    PCI_BASE_ADDRESS_MEM_PREFETCH: 8,
    PCI_BASE_ADDRESS_MEM_TYPE_64: 4,
    PCI_BASE_ADDRESS_SPACE_IO: 1,
    PCI_CAPABILITY_LIST: 0x34,
    PCI_CAP_ID_MSIX: 0x11,
    PCI_CAP_ID_VNDR: 9,
    PCI_CFG_SPACE_SIZE: 0x100,
    PCI_CLASS_PROG: 9,
    PCI_COMMAND: 4,
    PCI_COMMAND_INTX_DISABLE: 0x400,
    PCI_COMMAND_IO: 1,
    PCI_COMMAND_MASTER: 4,
    PCI_COMMAND_MEMORY: 2,
    PCI_DEVICE_ID: 2,
    PCI_HEADER_TYPE: 0xe,
    PCI_INTERRUPT_LINE: 0x3c,
    PCI_INTERRUPT_PIN: 0x3d,
    PCI_MSIX_BIR: 7,
    PCI_MSIX_ENTRY_CTRL_MASKBIT: 1,
    PCI_MSIX_ENTRY_SIZE: 0x10,
    PCI_MSIX_ENTRY_VECTOR_CTRL: 0xc,
    PCI_MSIX_FLAGS: 2,
    PCI_MSIX_FLAGS_ENABLE: 0x8000,
    PCI_MSIX_FLAGS_MASKALL: 0x4000,
    PCI_MSIX_FLAGS_QSIZE: 0x7ff,
    PCI_MSIX_PBA: 8,
    PCI_MSIX_TABLE: 4,
    PCI_REVISION_ID: 8,
    PCI_STATUS: 6,
    PCI_STATUS_CAP_LIST: 0x10,
    PCI_STATUS_INTERRUPT: 8,
    PCI_STD_HEADER_SIZEOF: 0x40,
    PCI_STD_NUM_BARS: 6,
    PCI_SUBSYSTEM_ID: 0x2e,
    PCI_SUBSYSTEM_VENDOR_ID: 0x2c,
    PCI_VENDOR_ID: 0,
  });
});

test('VIRTIO 1.3 §2.1, §4.1: virtio over PCI', () => {
  assert.deepEqual(numbersOf(virtio), {
    CAP: {
      cap_vndr: 0,
      cap_next: 1,
      cap_len: 2,
      cfg_type: 3,
      bar: 4,
      id: 5,
      offset: 8,
      length: 0xc,
      size: 0x10,
      notify_off_multiplier: 0x10,
      notifySize: 0x14,
      pci_cfg_data: 0x10,
      pciCfgSize: 0x14,
      offset_hi: 0x10,
      length_hi: 0x14,
      size64: 0x18,
    },
    COMMON: {
      device_feature_select: 0,
      device_feature: 4,
      driver_feature_select: 8,
      driver_feature: 0xc,
      config_msix_vector: 0x10,
      num_queues: 0x12,
      device_status: 0x14,
      config_generation: 0x15,
      queue_select: 0x16,
      queue_size: 0x18,
      queue_msix_vector: 0x1a,
      queue_enable: 0x1c,
      queue_notify_off: 0x1e,
      queue_desc: 0x20,
      queue_driver: 0x28,
      queue_device: 0x30,
      queue_notif_config_data: 0x38,
      queue_reset: 0x3a,
      size: 0x40,
      minimum: 0x38,
    },
    FEATURE_WINDOWS: 4,
    PCI_VENDOR_ID_REDHAT_QUMRANET: 0x1af4,
    VIRTIO_CONFIG_S_ACKNOWLEDGE: 1,
    VIRTIO_CONFIG_S_DRIVER: 2,
    VIRTIO_CONFIG_S_DRIVER_OK: 4,
    VIRTIO_CONFIG_S_FAILED: 0x80,
    VIRTIO_CONFIG_S_FEATURES_OK: 8,
    VIRTIO_CONFIG_S_NEEDS_RESET: 0x40,
    VIRTIO_CONFIG_S_SUSPEND: 0x10,
    VIRTIO_MSI_NO_VECTOR: 0xffff,
    VIRTIO_PCI_CAP_COMMON_CFG: 1,
    VIRTIO_PCI_CAP_DEVICE_CFG: 4,
    VIRTIO_PCI_CAP_ISR_CFG: 3,
    VIRTIO_PCI_CAP_NOTIFY_CFG: 2,
    VIRTIO_PCI_CAP_PCI_CFG: 5,
    VIRTIO_PCI_CAP_SHARED_MEMORY_CFG: 8,
    VIRTIO_PCI_ISR_CONFIG: 2,
    VIRTIO_PCI_ISR_QUEUE: 1,
  });
});

test('4.1.5.2: a notification with data', () => {
  assert.deepEqual(NOTIFICATION, { queue: 0, next: 2, size: 4 });
});
