import { parseShape, type Shape } from '../record/shape.js';

/** Feature bits that belong to no device (VIRTIO 1.3 §6), and those that vhost has among them. */
const COMMON: Readonly<Record<number, string>> = {
  24: 'VIRTIO_F_NOTIFY_ON_EMPTY',
  26: 'VHOST_F_LOG_ALL',
  27: 'VIRTIO_F_ANY_LAYOUT',
  28: 'VIRTIO_F_INDIRECT_DESC',
  29: 'VIRTIO_F_EVENT_IDX',
  30: 'VHOST_USER_F_PROTOCOL_FEATURES',
  32: 'VIRTIO_F_VERSION_1',
  33: 'VIRTIO_F_ACCESS_PLATFORM',
  34: 'VIRTIO_F_RING_PACKED',
  35: 'VIRTIO_F_IN_ORDER',
  36: 'VIRTIO_F_ORDER_PLATFORM',
  37: 'VIRTIO_F_SR_IOV',
  38: 'VIRTIO_F_NOTIFICATION_DATA',
  39: 'VIRTIO_F_NOTIF_CONFIG_DATA',
  40: 'VIRTIO_F_RING_RESET',
  41: 'VIRTIO_F_ADMIN_VQ',
  43: 'VIRTIO_F_SUSPEND',
};

/** What is known of a device by its id (§5): by bit, the name of each feature; the shape of its configuration space. */
interface Known {
  readonly prefix: string;
  readonly features: Readonly<Record<number, string>>;
  readonly config?: string;
}

const KNOWN: Readonly<Record<number, Known>> = {
  1: {
    prefix: 'VIRTIO_NET_F_',
    features: {
      0: 'CSUM',
      1: 'GUEST_CSUM',
      2: 'CTRL_GUEST_OFFLOADS',
      3: 'MTU',
      5: 'MAC',
      7: 'GUEST_TSO4',
      8: 'GUEST_TSO6',
      9: 'GUEST_ECN',
      10: 'GUEST_UFO',
      11: 'HOST_TSO4',
      12: 'HOST_TSO6',
      13: 'HOST_ECN',
      14: 'HOST_UFO',
      15: 'MRG_RXBUF',
      16: 'STATUS',
      17: 'CTRL_VQ',
      18: 'CTRL_RX',
      19: 'CTRL_VLAN',
      21: 'GUEST_ANNOUNCE',
      22: 'MQ',
      23: 'CTRL_MAC_ADDR',
    },
    config: '{mac:bytes(6),status:le16,max_virtqueue_pairs:le16,mtu:le16}',
  },
  2: {
    prefix: 'VIRTIO_BLK_F_',
    features: {
      1: 'SIZE_MAX',
      2: 'SEG_MAX',
      4: 'GEOMETRY',
      5: 'RO',
      6: 'BLK_SIZE',
      9: 'FLUSH',
      10: 'TOPOLOGY',
      11: 'CONFIG_WCE',
      12: 'MQ',
      13: 'DISCARD',
      14: 'WRITE_ZEROES',
      15: 'LIFETIME',
      16: 'SECURE_ERASE',
      17: 'ZONED',
    },
    config:
      '{capacity:le64,size_max:le32,seg_max:le32,geometry:{cylinders:le16,heads:u8,sectors:u8},blk_size:le32,physical_block_exp:u8,alignment_offset:u8,min_io_size:le16,opt_io_size:le32,writeback:u8,unused0:u8,num_queues:le16,max_discard_sectors:le32,max_discard_seg:le32,discard_sector_alignment:le32,max_write_zeroes_sectors:le32,max_write_zeroes_seg:le32,write_zeroes_may_unmap:u8}',
  },
  3: {
    prefix: 'VIRTIO_CONSOLE_F_',
    features: { 0: 'SIZE', 1: 'MULTIPORT', 2: 'EMERG_WRITE' },
    config: '{cols:le16,rows:le16,max_nr_ports:le32,emerg_wr:le32}',
  },
  5: {
    prefix: 'VIRTIO_BALLOON_F_',
    features: {
      0: 'MUST_TELL_HOST',
      1: 'STATS_VQ',
      2: 'DEFLATE_ON_OOM',
      3: 'FREE_PAGE_HINT',
      4: 'PAGE_POISON',
      5: 'REPORTING',
    },
    config: '{num_pages:le32,actual:le32}',
  },
  18: {
    prefix: 'VIRTIO_INPUT_F_',
    features: {},
    config: '{select:u8,subsel:u8,size:u8,reserved:bytes(5),data:bytes(128)}',
  },
  70: { prefix: 'VIRTIO_MISC_F_', features: { 0: 'CANCEL', 1: 'PERIODIC', 2: 'NSEC' } },
};

/**
 * The name of a feature bit; `bit 77` where it has none.
 *
 * @param own - names that the device itself has.
 */
export function featureName(id: number, bit: number, own: Readonly<Record<string, number>> = {}): string {
  const known = Object.hasOwn(KNOWN, id) ? KNOWN[id]! : undefined;
  const name = known?.features[bit];
  if (name !== undefined) return `${known!.prefix}${name}`;
  const [said] = Object.entries(own).find(([, number]) => number === bit) ?? [];
  return said ?? COMMON[bit] ?? `bit ${bit}`;
}

/** What a standard device's configuration space consists of. */
export function knownConfig(id: number): Shape | undefined {
  const text = Object.hasOwn(KNOWN, id) ? KNOWN[id]!.config : undefined;
  return text === undefined ? undefined : parseShape(text);
}
