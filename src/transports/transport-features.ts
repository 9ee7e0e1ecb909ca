import {
  ALL_RING_FEATURES,
  RING_FEATURES,
  VIRTIO_F_NOTIF_CONFIG_DATA,
  VIRTIO_F_NOTIFICATION_DATA,
  VIRTIO_F_RING_RESET,
  VIRTIO_F_SUSPEND,
} from '../virtio/features.js';
import { type RingFeatures, ringFeatureBits } from '../virtio/ring-features.js';

/** Ring features over one transport, as masks. */
export interface TransportFeatures {
  readonly name: string;
  /** What can be said over it. */
  readonly all: bigint;
  /** What is offered over it unless told. */
  readonly unlessTold: bigint;
}

/** A notification has contents, and both sides write to the status: that takes registers. */
const WITH_REGISTERS = VIRTIO_F_NOTIFICATION_DATA | VIRTIO_F_NOTIF_CONFIG_DATA | VIRTIO_F_SUSPEND;

export const PCI_FEATURES: TransportFeatures = {
  name: 'PCI',
  all: ALL_RING_FEATURES,
  unlessTold: RING_FEATURES | WITH_REGISTERS | VIRTIO_F_RING_RESET,
};

export const VHOST_USER_FEATURES: TransportFeatures = {
  name: 'vhost-user',
  all: ALL_RING_FEATURES & ~WITH_REGISTERS,
  // A front-end that hands on whatever it is offered (QEMU's generic device) does not tell the back-end that a queue was reset: the device
  // would go on in memory that its driver has for something else.
  unlessTold: RING_FEATURES,
};

export const LOOPBACK_FEATURES: TransportFeatures = {
  name: 'loopback',
  all: ALL_RING_FEATURES & ~WITH_REGISTERS,
  unlessTold: RING_FEATURES | VIRTIO_F_RING_RESET,
};

/**
 * What is offered over a transport of somebody's choice.
 *
 * @throws TypeError for a name or a value that is none.
 */
export function offeredOver(transport: TransportFeatures, choice: RingFeatures = {}): bigint {
  return ringFeatureBits(choice, transport.unlessTold) & transport.all;
}

/** @throws TypeError for a feature that none of these transports can say, or that is none. */
export function checkChoice(choice: RingFeatures, transports: readonly TransportFeatures[]): void {
  for (const [name, on] of Object.entries(choice)) {
    const bit = ringFeatureBits({ [name]: on }, 0n);
    if (transports.some(({ all }) => (bit & ~all) === 0n)) continue;
    const names = transports.map((transport) => transport.name).join(' and ');
    throw new TypeError(`${names} can't say the ring feature ${name}: leave it out, or serve over vfio-user`);
  }
}
