import type { GuestAddress } from '../../../memory/address.js';
import { joinAddress } from '../../../memory/address.js';
import type { QueueSpec } from '../../../virtio/device.js';
import type { StateFields } from '../../../virtio/state-fields.js';
import { VIRTIO_MSI_NO_VECTOR } from '../virtio-pci.js';

/**
 * What a driver wrote about one queue (VIRTIO 1.3 §4.1.4.3). Values are kept as written and judged when they are used,
 * because a register may be written in pieces.
 */
export class QueueRegisters {
  readonly max: number;
  size: number;
  vector: number = VIRTIO_MSI_NO_VECTOR;
  enabled = false;
  /** A reset of this queue is under way. */
  resetting = false;
  /** Low and high halves of queue_desc, queue_driver and queue_device. */
  readonly halves: Uint32Array = new Uint32Array(6);

  constructor(spec: QueueSpec) {
    this.max = spec.size;
    this.size = spec.size;
  }

  /** The size as a driver may see it: what it wrote, if that can be (§4.1.4.3.1). */
  visibleSize(packed: boolean): number {
    return this.isSizeValid(packed) ? this.size : this.max;
  }

  /** @param packed - RING_PACKED was negotiated, and any size will do (§4.1.4.3.2). */
  isSizeValid(packed: boolean): boolean {
    return this.size > 0 && this.size <= this.max && (packed || (this.size & (this.size - 1)) === 0);
  }

  get descriptorArea(): GuestAddress {
    return joinAddress(this.halves[0]!, this.halves[1]!);
  }

  get driverArea(): GuestAddress {
    return joinAddress(this.halves[2]!, this.halves[3]!);
  }

  get deviceArea(): GuestAddress {
    return joinAddress(this.halves[4]!, this.halves[5]!);
  }

  save(): Record<string, unknown> {
    const { size, vector, enabled } = this;
    return { size, vector, enabled, halves: [...this.halves].map((half) => ({ half })) };
  }

  /** @throws StateError when it can't be. */
  restore(state: StateFields): void {
    this.size = state.number('size', 0xffff);
    this.vector = state.number('vector', 0xffff);
    this.enabled = state.boolean('enabled');
    const halves = state.list('halves', this.halves.length);
    for (const [i, half] of halves.entries()) this.halves[i] = half.number('half', 0xffff_ffff);
  }

  reset(): void {
    this.size = this.max;
    this.vector = VIRTIO_MSI_NO_VECTOR;
    this.enabled = false;
    this.resetting = false;
    this.halves.fill(0);
  }
}
