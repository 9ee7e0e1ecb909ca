import type { GuestAddress } from '../memory/address.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import type { MemoryView } from '../memory/memory-view.js';
import type { InflightPlace } from './inflight.js';

/** Where a virtqueue lies and what was negotiated for it: what the device's end is made of, whatever the layout. */
export interface DeviceQueueOptions {
  readonly memory: GuestMemory;
  /** Number of descriptors, 1..32768; of a split ring a power of two. */
  readonly size: number;
  /** The descriptor table, or the packed ring: a multiple of 16. */
  readonly descriptorArea: GuestAddress;
  /** The available ring, a multiple of 2; or the driver's event suppression, a multiple of 4. */
  readonly driverArea: GuestAddress;
  /** The used ring, or the device's event suppression: a multiple of 4. */
  readonly deviceArea: GuestAddress;
  /** Where to go on: `Virtqueue.base` of an earlier queue, or that of a fresh ring. */
  readonly base: number;
  /** VIRTIO_F_EVENT_IDX was negotiated. */
  readonly eventIdx: boolean;
  /** VIRTIO_F_INDIRECT_DESC was negotiated. */
  readonly indirect: boolean;
  /** VIRTIO_F_IN_ORDER was negotiated: chains are handed back in the order in which they were taken. */
  readonly inOrder?: boolean;
  /** What is written to instead of the view of the device area. Asked again when guest memory changed. */
  readonly deviceView?: ((view: MemoryView) => MemoryView) | undefined;
  /**
   * Where it is kept which chains are in flight. If an earlier device did so, its chains come first, in the order in which it took them, and
   * `base` is of no account.
   */
  readonly inflight?: InflightPlace | undefined;
}
