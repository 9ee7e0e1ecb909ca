import type { GuestAddress } from '../memory/address.js';
import type { DistantMemory } from '../memory/distant-memory.js';
import type { GuestAllocator } from '../memory/guest-allocator.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import { CarriedQueue, type CarriedQueueEvents } from '../virtqueue/carried/carried-queue.js';
import type { DeviceQueueOptions } from '../virtqueue/device-queue-options.js';
import type { DriverQueue } from '../virtqueue/driver-queue.js';
import { PackedCarriedRing } from '../virtqueue/packed/carried.js';
import { PackedDeviceQueue } from '../virtqueue/packed/device.js';
import { PackedDriverQueue } from '../virtqueue/packed/driver.js';
import { packedRegionSize } from '../virtqueue/packed/inflight-layout.js';
import * as packed from '../virtqueue/packed/layout.js';
import { SplitCarriedRing } from '../virtqueue/split/carried.js';
import { SplitDeviceQueue } from '../virtqueue/split/device.js';
import { SplitDriverQueue } from '../virtqueue/split/driver.js';
import { splitRegionSize } from '../virtqueue/split/inflight-layout.js';
import * as split from '../virtqueue/split/layout.js';
import type { Virtqueue } from '../virtqueue/virtqueue.js';
import {
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_IN_ORDER,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_RING_PACKED,
} from './features.js';

/** What all rings of a device have in common, once its driver accepted these features. */
export class RingKind {
  /** RING_PACKED (VIRTIO 1.3 §2.8). */
  readonly packed: boolean;
  readonly #negotiated: { readonly eventIdx: boolean; readonly indirect: boolean; readonly inOrder: boolean };

  constructor(features: bigint) {
    this.packed = (features & VIRTIO_F_RING_PACKED) !== 0n;
    this.#negotiated = {
      eventIdx: (features & VIRTIO_F_EVENT_IDX) !== 0n,
      indirect: (features & VIRTIO_F_INDIRECT_DESC) !== 0n,
      inOrder: (features & VIRTIO_F_IN_ORDER) !== 0n,
    };
  }

  /** Where a fresh ring starts, as `Virtqueue.base` says it. */
  get freshBase(): number {
    return this.packed ? packed.FRESH_BASE : 0;
  }

  isSize(size: number): boolean {
    return this.packed ? packed.isQueueSize(size) : split.isQueueSize(size);
  }

  /** What a size must be, for messages: the words after 'is no'. */
  get sizeRule(): string {
    return this.packed ? 'number' : 'power of two';
  }

  /** Bytes of each area. */
  areaSizes(size: number): Readonly<Record<'descriptor' | 'driver' | 'device', number>> {
    if (this.packed) {
      const events = packed.PVIRTQ_EVENT_SUPPRESS_SIZE;
      return { descriptor: packed.descriptorAreaSize(size), driver: events, device: events };
    }
    return {
      descriptor: split.descriptorAreaSize(size),
      driver: split.driverAreaSize(size),
      device: split.deviceAreaSize(size),
    };
  }

  /** Bytes that it takes to keep what is in flight on a queue of so many descriptors: see `InflightPlace`. */
  inflightSize(size: number): number {
    return this.packed ? packedRegionSize(size) : splitRegionSize(size);
  }

  /** What the device's end of a ring is made of. */
  optionsOf(
    memory: GuestMemory,
    ring: {
      readonly size: number;
      readonly descriptorArea: GuestAddress;
      readonly driverArea: GuestAddress;
      readonly deviceArea: GuestAddress;
    },
    base: number = this.freshBase,
  ): DeviceQueueOptions {
    const { size, descriptorArea, driverArea, deviceArea } = ring;
    return { memory, size, descriptorArea, driverArea, deviceArea, base, ...this.#negotiated };
  }

  /** The device's end of a ring. @throws VirtqueueError when it can't be one. */
  deviceQueue(options: DeviceQueueOptions): Virtqueue {
    return this.packed ? new PackedDeviceQueue(options) : new SplitDeviceQueue(options);
  }

  /** The same where a part of the memory is distant. @throws VirtqueueError when it can't be one. */
  carriedQueue(
    options: DeviceQueueOptions,
    distant: DistantMemory,
    events: CarriedQueueEvents,
  ): CarriedQueue {
    const Ring = this.packed ? PackedCarriedRing : SplitCarriedRing;
    return new CarriedQueue(options, distant, events, (ports) => new Ring(options, distant, ports));
  }

  /** The driver's end of a new ring. @throws RangeError when the size can't be, or there is no room. */
  driverQueue<Token>(memory: GuestMemory, allocator: GuestAllocator, size: number): DriverQueue<Token> {
    const options = { memory, allocator, size, ...this.#negotiated };
    return this.packed ? new PackedDriverQueue<Token>(options) : new SplitDriverQueue<Token>(options);
  }
}
