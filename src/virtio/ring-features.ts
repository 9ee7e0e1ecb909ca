import {
  RING_FEATURES,
  VIRTIO_F_ACCESS_PLATFORM,
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_IN_ORDER,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_NOTIF_CONFIG_DATA,
  VIRTIO_F_NOTIFICATION_DATA,
  VIRTIO_F_ORDER_PLATFORM,
  VIRTIO_F_RING_PACKED,
  VIRTIO_F_RING_RESET,
  VIRTIO_F_SUSPEND,
} from './features.js';

/** Which ring features are offered, or accepted, where that is not what is done unless told. */
export interface RingFeatures {
  /** VIRTIO_F_RING_PACKED: packed rings (VIRTIO 1.3 §2.8) for a driver that can. Not offered unless told. */
  readonly packed?: boolean;
  /** VIRTIO_F_IN_ORDER: requests are handed back in the order in which they came (§2.7.9, §2.8.8), however the device finishes them. Not offered unless told. */
  readonly inOrder?: boolean;
  /**
   * VIRTIO_F_ACCESS_PLATFORM: a driver gives the device addresses as its platform has them for devices (§6), maybe behind an IOMMU. Over vhost-user
   * the front-end translates them. Not offered unless told.
   */
  readonly accessPlatform?: boolean;
  /** VIRTIO_F_ORDER_PLATFORM: a driver orders its accesses as for a device of hardware (§6). Not offered unless told. */
  readonly orderPlatform?: boolean;
  /** VIRTIO_F_EVENT_IDX: fewer kicks and interrupts (§2.7.7, §2.8.10). Offered unless told. */
  readonly eventIdx?: boolean;
  /** VIRTIO_F_INDIRECT_DESC: requests of many pieces in one descriptor of the ring (§2.7.5.3, §2.8.7). Offered unless told. */
  readonly indirectDesc?: boolean;
  /** VIRTIO_F_RING_RESET: a driver can reset one queue alone (§2.6.1). Offered unless told, but over vhost-user, where not every front-end says it. */
  readonly ringReset?: boolean;
  /** VIRTIO_F_NOTIFICATION_DATA: a kick says how far the driver has come (§2.9). Over PCI, offered unless told. */
  readonly notificationData?: boolean;
  /** VIRTIO_F_NOTIF_CONFIG_DATA: a kick names its queue as the device wants it named (§2.9). Over PCI, offered unless told. */
  readonly notifConfigData?: boolean;
  /** VIRTIO_F_SUSPEND: a driver can have the device stand still (VIRTIO 1.4 §3.4). Over PCI, offered unless told. */
  readonly suspend?: boolean;
}

const MASKS: Readonly<Record<keyof RingFeatures, bigint>> = {
  packed: VIRTIO_F_RING_PACKED,
  inOrder: VIRTIO_F_IN_ORDER,
  accessPlatform: VIRTIO_F_ACCESS_PLATFORM,
  orderPlatform: VIRTIO_F_ORDER_PLATFORM,
  eventIdx: VIRTIO_F_EVENT_IDX,
  indirectDesc: VIRTIO_F_INDIRECT_DESC,
  ringReset: VIRTIO_F_RING_RESET,
  notificationData: VIRTIO_F_NOTIFICATION_DATA,
  notifConfigData: VIRTIO_F_NOTIF_CONFIG_DATA,
  suspend: VIRTIO_F_SUSPEND,
};

/** The names that can be chosen. */
export const RING_FEATURE_NAMES: readonly (keyof RingFeatures)[] = Object.keys(
  MASKS,
) as (keyof RingFeatures)[];

/**
 * The feature bits of a choice.
 *
 * @param otherwise - those where nothing is chosen.
 * @throws TypeError for a name or a value that is none.
 */
export function ringFeatureBits(choice: RingFeatures, otherwise: bigint = RING_FEATURES): bigint {
  let bits = otherwise;
  for (const [name, on] of Object.entries(choice)) {
    const mask = MASKS[name as keyof RingFeatures];
    if (mask === undefined || !Object.hasOwn(MASKS, name)) {
      throw new TypeError(
        `there is no ring feature '${name}' to choose: take one of ${RING_FEATURE_NAMES.join(', ')}`,
      );
    }
    if (typeof on !== 'boolean') throw new TypeError(`the ring feature ${name} is true or false, not ${on}`);
    bits = on ? bits | mask : bits & ~mask;
  }
  return bits;
}
