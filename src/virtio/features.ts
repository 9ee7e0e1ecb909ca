/** Feature bits that belong to the ring and to negotiation (VIRTIO 1.3 §6), as masks. */
export const VIRTIO_F_INDIRECT_DESC: bigint = 1n << 28n;
export const VIRTIO_F_EVENT_IDX: bigint = 1n << 29n;
export const VIRTIO_F_VERSION_1: bigint = 1n << 32n;
export const VIRTIO_F_ACCESS_PLATFORM: bigint = 1n << 33n;
export const VIRTIO_F_RING_PACKED: bigint = 1n << 34n;
export const VIRTIO_F_IN_ORDER: bigint = 1n << 35n;
export const VIRTIO_F_ORDER_PLATFORM: bigint = 1n << 36n;
export const VIRTIO_F_NOTIFICATION_DATA: bigint = 1n << 38n;
export const VIRTIO_F_NOTIF_CONFIG_DATA: bigint = 1n << 39n;
export const VIRTIO_F_RING_RESET: bigint = 1n << 40n;
/** VIRTIO 1.4. */
export const VIRTIO_F_SUSPEND: bigint = 1n << 43n;

/** What every device offers beside its own bits unless told, whatever it is and whatever carries it. */
export const RING_FEATURES: bigint = VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VIRTIO_F_VERSION_1;

/** What our drivers accept wherever it is offered, and our devices can offer over one transport or another. */
export const ALL_RING_FEATURES: bigint =
  RING_FEATURES |
  VIRTIO_F_RING_PACKED |
  VIRTIO_F_IN_ORDER |
  VIRTIO_F_ACCESS_PLATFORM |
  VIRTIO_F_ORDER_PLATFORM |
  VIRTIO_F_NOTIFICATION_DATA |
  VIRTIO_F_NOTIF_CONFIG_DATA |
  VIRTIO_F_RING_RESET |
  VIRTIO_F_SUSPEND;

/** Whether a bit is a device type's own: 0-23 and 50-127 (VIRTIO 1.3 §2.2). */
export function isDeviceFeature(bit: number): boolean {
  return Number.isInteger(bit) && ((bit >= 0 && bit <= 23) || (bit >= 50 && bit <= 127));
}

/** The numbers of the bits in a mask, ascending: for messages. */
export function featureBits(mask: bigint): number[] {
  const bits: number[] = [];
  for (let bit = 0; mask >> BigInt(bit) !== 0n; bit++) if ((mask >> BigInt(bit)) & 1n) bits.push(bit);
  return bits;
}
