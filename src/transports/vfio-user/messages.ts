/** vfio-user on the wire: the specification's names and numbers (QEMU docs/interop/vfio-user.rst). Little-endian hosts only. */

export const VFIO_USER_VERSION = 1;
export const VFIO_USER_DMA_MAP = 2;
export const VFIO_USER_DMA_UNMAP = 3;
export const VFIO_USER_DEVICE_GET_INFO = 4;
export const VFIO_USER_DEVICE_GET_REGION_INFO = 5;
export const VFIO_USER_DEVICE_GET_REGION_IO_FDS = 6;
export const VFIO_USER_DEVICE_GET_IRQ_INFO = 7;
export const VFIO_USER_DEVICE_SET_IRQS = 8;
export const VFIO_USER_REGION_READ = 9;
export const VFIO_USER_REGION_WRITE = 10;
export const VFIO_USER_DMA_READ = 11;
export const VFIO_USER_DMA_WRITE = 12;
export const VFIO_USER_DEVICE_RESET = 13;
export const VFIO_USER_REGION_WRITE_MULTI = 15;
export const VFIO_USER_DEVICE_FEATURE = 16;
export const VFIO_USER_MIG_DATA_READ = 17;
export const VFIO_USER_MIG_DATA_WRITE = 18;

const NAMES: Readonly<Record<number, string>> = {
  [VFIO_USER_VERSION]: 'VERSION',
  [VFIO_USER_DMA_MAP]: 'DMA_MAP',
  [VFIO_USER_DMA_UNMAP]: 'DMA_UNMAP',
  [VFIO_USER_DEVICE_GET_INFO]: 'DEVICE_GET_INFO',
  [VFIO_USER_DEVICE_GET_REGION_INFO]: 'DEVICE_GET_REGION_INFO',
  [VFIO_USER_DEVICE_GET_REGION_IO_FDS]: 'DEVICE_GET_REGION_IO_FDS',
  [VFIO_USER_DEVICE_GET_IRQ_INFO]: 'DEVICE_GET_IRQ_INFO',
  [VFIO_USER_DEVICE_SET_IRQS]: 'DEVICE_SET_IRQS',
  [VFIO_USER_REGION_READ]: 'REGION_READ',
  [VFIO_USER_REGION_WRITE]: 'REGION_WRITE',
  [VFIO_USER_DMA_READ]: 'DMA_READ',
  [VFIO_USER_DMA_WRITE]: 'DMA_WRITE',
  [VFIO_USER_DEVICE_RESET]: 'DEVICE_RESET',
  [VFIO_USER_REGION_WRITE_MULTI]: 'REGION_WRITE_MULTI',
  [VFIO_USER_DEVICE_FEATURE]: 'DEVICE_FEATURE',
  [VFIO_USER_MIG_DATA_READ]: 'MIG_DATA_READ',
  [VFIO_USER_MIG_DATA_WRITE]: 'MIG_DATA_WRITE',
};

/** A command's name, for messages. */
export function commandName(command: number): string {
  return NAMES[command] ?? `command ${command}`;
}

/** Every message's first 16 bytes: le16 id, le16 command, le32 size (of all), le32 flags, le32 error. */
export const HEADER = { id: 0, command: 2, messageSize: 4, flags: 8, error: 12, size: 16 } as const;

/** Header flags: the type in bits 0-3. */
export const VFIO_USER_F_TYPE_MASK = 0xf;
export const VFIO_USER_F_TYPE_COMMAND = 0x0;
export const VFIO_USER_F_TYPE_REPLY = 0x1;
export const VFIO_USER_F_NO_REPLY = 0x10;
export const VFIO_USER_F_ERROR = 0x20;

/** The protocol version that this is. */
export const VFIO_USER_MAJOR = 0;
export const VFIO_USER_MINOR = 0;

/** What a peer that names no limit means (bytes in one transfer; descriptors in one message). */
export const DEFAULT_MAX_DATA_XFER_SIZE = 0x10_0000;
export const DEFAULT_MAX_MSG_FDS = 1;

/** struct vfio_iommu_type1_dma_map, and its flags. */
export const DMA_MAP = { argsz: 0, flags: 4, offset: 8, address: 16, regionSize: 24, size: 32 } as const;
export const VFIO_DMA_MAP_FLAG_READ = 1;
export const VFIO_DMA_MAP_FLAG_WRITE = 2;
/** How the file is to be reached, which libvfio-user lets a client say: mapped (as unless told), or by reads and writes. */
export const VFIO_USER_F_DMA_REGION_MMAP = 4;
export const VFIO_USER_F_DMA_REGION_FILE_IO = 8;

/** struct vfio_iommu_type1_dma_unmap, and its flags. */
export const DMA_UNMAP = { argsz: 0, flags: 4, address: 8, regionSize: 16, size: 24 } as const;
export const VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP = 1;
export const VFIO_DMA_UNMAP_FLAG_ALL = 2;
/** struct vfio_user_bitmap, which follows with GET_DIRTY_BITMAP, in the reply with the bitmap. */
export const BITMAP = { pgsize: 0, bitmapSize: 8, size: 16 } as const;

/** struct vfio_device_info. */
export const DEVICE_INFO = { argsz: 0, flags: 4, num_regions: 8, num_irqs: 12, size: 16 } as const;
export const VFIO_DEVICE_FLAGS_RESET = 1;
export const VFIO_DEVICE_FLAGS_PCI = 2;

/** struct vfio_region_info. */
export const REGION_INFO = {
  argsz: 0,
  flags: 4,
  index: 8,
  cap_offset: 12,
  regionSize: 16,
  offset: 24,
  size: 32,
} as const;
export const VFIO_REGION_INFO_FLAG_READ = 1;
export const VFIO_REGION_INFO_FLAG_WRITE = 2;
export const VFIO_REGION_INFO_FLAG_MMAP = 4;

/** Regions of a PCI device: BARs 0-5, then these. */
export const VFIO_PCI_ROM_REGION_INDEX = 6;
export const VFIO_PCI_CONFIG_REGION_INDEX = 7;
export const VFIO_PCI_VGA_REGION_INDEX = 8;
export const VFIO_PCI_NUM_REGIONS = 9;

/** struct vfio_user_region_io_fds_request and its reply without sub-regions. */
export const REGION_IO_FDS = { argsz: 0, flags: 4, index: 8, count: 12, size: 16 } as const;
/** struct vfio_user_sub_region_ioeventfd. */
export const SUB_REGION = {
  offset: 0,
  regionSize: 8,
  fd_index: 16,
  type: 20,
  flags: 24,
  datamatch: 32,
  size: 40,
} as const;
export const VFIO_USER_IO_FD_TYPE_IOEVENTFD = 0;

/** struct vfio_irq_info, and its flags. */
export const IRQ_INFO = { argsz: 0, flags: 4, index: 8, count: 12, size: 16 } as const;
export const VFIO_IRQ_INFO_EVENTFD = 1;
export const VFIO_IRQ_INFO_MASKABLE = 2;
export const VFIO_IRQ_INFO_AUTOMASKED = 4;

/** Interrupt types of a PCI device. */
export const VFIO_PCI_INTX_IRQ_INDEX = 0;
export const VFIO_PCI_MSI_IRQ_INDEX = 1;
export const VFIO_PCI_MSIX_IRQ_INDEX = 2;
export const VFIO_PCI_ERR_IRQ_INDEX = 3;
export const VFIO_PCI_REQ_IRQ_INDEX = 4;
export const VFIO_PCI_NUM_IRQS = 5;

/** struct vfio_irq_set without its data, and its flags. */
export const IRQ_SET = { argsz: 0, flags: 4, index: 8, start: 12, count: 16, size: 20 } as const;
export const VFIO_IRQ_SET_DATA_NONE = 1;
export const VFIO_IRQ_SET_DATA_BOOL = 2;
export const VFIO_IRQ_SET_DATA_EVENTFD = 4;
export const VFIO_IRQ_SET_ACTION_MASK = 8;
export const VFIO_IRQ_SET_ACTION_UNMASK = 0x10;
export const VFIO_IRQ_SET_ACTION_TRIGGER = 0x20;
export const VFIO_IRQ_SET_DATA_TYPE_MASK = 7;
export const VFIO_IRQ_SET_ACTION_TYPE_MASK = 0x38;

/** REGION_READ and REGION_WRITE, without their data. */
export const REGION_ACCESS = { offset: 0, region: 8, count: 12, size: 16 } as const;

/** DMA_READ and DMA_WRITE, without their data. */
export const DMA_ACCESS = { address: 0, count: 8, size: 16 } as const;

/** REGION_WRITE_MULTI: le64 wr_cnt, then writes of at most 8 bytes. */
export const WRITE_MULTI = { wr_cnt: 0, size: 8, writeSize: 24, data: 16, dataSize: 8 } as const;

/** struct vfio_user_device_feature without its data, and its flags: the feature's index in the lowest 16 bits. */
export const DEVICE_FEATURE = { argsz: 0, flags: 4, size: 8 } as const;
export const VFIO_DEVICE_FEATURE_MASK = 0xffff;
export const VFIO_DEVICE_FEATURE_GET = 0x1_0000;
export const VFIO_DEVICE_FEATURE_SET = 0x2_0000;
export const VFIO_DEVICE_FEATURE_PROBE = 0x4_0000;

export const VFIO_DEVICE_FEATURE_MIGRATION = 1;
export const VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE = 2;
export const VFIO_DEVICE_FEATURE_DMA_LOGGING_START = 6;
export const VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP = 7;
export const VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT = 8;

const FEATURE_NAMES: Readonly<Record<number, string>> = {
  [VFIO_DEVICE_FEATURE_MIGRATION]: 'MIGRATION',
  [VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE]: 'MIG_DEVICE_STATE',
  [VFIO_DEVICE_FEATURE_DMA_LOGGING_START]: 'DMA_LOGGING_START',
  [VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP]: 'DMA_LOGGING_STOP',
  [VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT]: 'DMA_LOGGING_REPORT',
};

/** A device feature's name, for messages. */
export function featureName(feature: number): string {
  return FEATURE_NAMES[feature] ?? `feature ${feature}`;
}

/** struct vfio_user_device_feature_migration, and its flags. */
export const FEATURE_MIGRATION = { flags: 0, size: 8 } as const;
export const VFIO_MIGRATION_STOP_COPY = 1;
export const VFIO_MIGRATION_P2P = 2;
export const VFIO_MIGRATION_PRE_COPY = 4;

/** struct vfio_user_device_feature_mig_state. */
export const FEATURE_MIG_STATE = { device_state: 0, data_fd: 4, size: 8 } as const;

/** enum vfio_user_device_mig_state. */
export const VFIO_USER_DEVICE_STATE_ERROR = 0;
export const VFIO_USER_DEVICE_STATE_STOP = 1;
export const VFIO_USER_DEVICE_STATE_RUNNING = 2;
export const VFIO_USER_DEVICE_STATE_STOP_COPY = 3;
export const VFIO_USER_DEVICE_STATE_RESUMING = 4;
export const VFIO_USER_DEVICE_STATE_RUNNING_P2P = 5;
export const VFIO_USER_DEVICE_STATE_PRE_COPY = 6;
export const VFIO_USER_DEVICE_STATE_PRE_COPY_P2P = 7;

const STATE_NAMES = [
  'ERROR',
  'STOP',
  'RUNNING',
  'STOP_COPY',
  'RESUMING',
  'RUNNING_P2P',
  'PRE_COPY',
  'PRE_COPY_P2P',
] as const;

/** A migration state's name, for messages. */
export function stateName(state: number): string {
  return STATE_NAMES[state] ?? `state ${state}`;
}

/** struct vfio_user_device_feature_dma_logging_control without its ranges, and one of those. */
export const DMA_LOGGING_CONTROL = { page_size: 0, num_ranges: 8, reserved: 12, size: 16 } as const;
export const DMA_LOGGING_RANGE = { iova: 0, length: 8, size: 16 } as const;
/** struct vfio_user_device_feature_dma_logging_report without its bitmap. */
export const DMA_LOGGING_REPORT = { iova: 0, length: 8, page_size: 16, size: 24 } as const;

/** struct vfio_user_mig_data without its data. */
export const MIG_DATA = { argsz: 0, dataSize: 4, size: 8 } as const;
