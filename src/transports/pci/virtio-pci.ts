/** Virtio over PCI on the wire (VIRTIO 1.3 §4.1), for both sides. The names are the specification's and Linux's. */

export const PCI_VENDOR_ID_REDHAT_QUMRANET = 0x1af4;

/** `cfg_type` of a virtio capability (§4.1.4). */
export const VIRTIO_PCI_CAP_COMMON_CFG = 1;
export const VIRTIO_PCI_CAP_NOTIFY_CFG = 2;
export const VIRTIO_PCI_CAP_ISR_CFG = 3;
export const VIRTIO_PCI_CAP_DEVICE_CFG = 4;
export const VIRTIO_PCI_CAP_PCI_CFG = 5;
export const VIRTIO_PCI_CAP_SHARED_MEMORY_CFG = 8;

/** struct virtio_pci_cap, 16 bytes, and what follows it in three of its kinds: the last is struct virtio_pci_cap64. */
export const CAP = {
  cap_vndr: 0,
  cap_next: 1,
  cap_len: 2,
  cfg_type: 3,
  bar: 4,
  id: 5,
  offset: 8,
  length: 12,
  size: 16,
  notify_off_multiplier: 16,
  notifySize: 20,
  pci_cfg_data: 16,
  pciCfgSize: 20,
  offset_hi: 16,
  length_hi: 20,
  size64: 24,
} as const;

/** struct virtio_pci_common_cfg (§4.1.4.3): offsets. 64-bit fields are two halves, the low one first. */
export const COMMON = {
  device_feature_select: 0x00,
  device_feature: 0x04,
  driver_feature_select: 0x08,
  driver_feature: 0x0c,
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
  /** Up to here; the administration queue's fields after it read as zero. */
  size: 0x40,
  /** What a driver needs at least: without the fields that came with VIRTIO 1.2. */
  minimum: 0x38,
} as const;

/** Feature bits 0 to 127, of which 32 at a time are in `device_feature` and `driver_feature` (§2.2). */
export const FEATURE_WINDOWS = 4;

/** Device status (§2.1). */
export const VIRTIO_CONFIG_S_ACKNOWLEDGE = 1;
export const VIRTIO_CONFIG_S_DRIVER = 2;
export const VIRTIO_CONFIG_S_DRIVER_OK = 4;
export const VIRTIO_CONFIG_S_FEATURES_OK = 8;
/** VIRTIO 1.4 §2.1. */
export const VIRTIO_CONFIG_S_SUSPEND = 16;
export const VIRTIO_CONFIG_S_NEEDS_RESET = 0x40;
export const VIRTIO_CONFIG_S_FAILED = 0x80;

/** The vector of an event that interrupts nobody (§4.1.5.1.2). */
export const VIRTIO_MSI_NO_VECTOR = 0xffff;

/** ISR status (§4.1.4.5). */
export const VIRTIO_PCI_ISR_QUEUE = 1;
export const VIRTIO_PCI_ISR_CONFIG = 2;
