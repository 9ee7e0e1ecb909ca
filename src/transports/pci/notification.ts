/** An available buffer notification with data (VIRTIO 1.3 §4.1.5.2), 4 bytes: le16 of the queue, le16 of the place. */
export const NOTIFICATION = { queue: 0, next: 2, size: 4 } as const;

/**
 * What a device wants a queue to be called in notifications, in `queue_notif_config_data`: not its index, so that it is seen who takes the
 * one for the other.
 */
export function notifConfigData(index: number): number {
  return index ^ 0x8000;
}
