import type { QueueSpec } from '../../../virtio/device.js';
import type { StateFields } from '../../../virtio/state-fields.js';
import { notifConfigData } from '../notification.js';
import { COMMON, FEATURE_WINDOWS, VIRTIO_MSI_NO_VECTOR } from '../virtio-pci.js';
import { QueueRegisters } from './queue-registers.js';

/** What the common configuration asks of the function behind it. */
export interface CommonConfigEvents {
  /** Every feature bit on offer. */
  offered(): bigint;
  /** MSI-X vectors there are. */
  readonly vectors: number;
  /** The device status, and what the driver writes to it. */
  readStatus(): number;
  writeStatus(value: number): void;
  /** The low 8 bits of this are `config_generation`. */
  generation(): number;
  /** Whether the driver may still change what it accepts. */
  featuresOpen(): boolean;
  /** Whether RING_PACKED was negotiated. */
  packed(): boolean;
  /** Whether RING_RESET was negotiated. */
  ringReset(): boolean;
  /** Whether NOTIF_CONFIG_DATA was. */
  notifConfigData(): boolean;
  /** The driver enabled a queue that was not. */
  enableQueue(index: number): void;
  /** The driver wants a queue reset; `resetting` is set. */
  resetQueue(index: number): void;
}

/** A writable register: bytes, and where it is. */
interface Field {
  readonly offset: number;
  readonly size: 1 | 2 | 4;
}

const WRITABLE: readonly Field[] = [
  { offset: COMMON.device_feature_select, size: 4 },
  { offset: COMMON.driver_feature_select, size: 4 },
  { offset: COMMON.driver_feature, size: 4 },
  { offset: COMMON.config_msix_vector, size: 2 },
  { offset: COMMON.device_status, size: 1 },
  { offset: COMMON.queue_select, size: 2 },
  { offset: COMMON.queue_size, size: 2 },
  { offset: COMMON.queue_msix_vector, size: 2 },
  { offset: COMMON.queue_enable, size: 2 },
  { offset: COMMON.queue_desc, size: 4 },
  { offset: COMMON.queue_desc + 4, size: 4 },
  { offset: COMMON.queue_driver, size: 4 },
  { offset: COMMON.queue_driver + 4, size: 4 },
  { offset: COMMON.queue_device, size: 4 },
  { offset: COMMON.queue_device + 4, size: 4 },
  { offset: COMMON.queue_reset, size: 2 },
];

/**
 * The common configuration structure (VIRTIO 1.3 §4.1.4.3) as registers. Accesses of any width at any offset work: a read
 * sees the bytes of all registers it covers, a write changes the written bytes of each register it covers.
 */
export class CommonConfig {
  readonly queues: readonly QueueRegisters[];
  readonly #events: CommonConfigEvents;
  readonly #image = new DataView(new ArrayBuffer(COMMON.size));
  readonly #imageBytes = new Uint8Array(this.#image.buffer);
  #deviceFeatureSelect = 0;
  #driverFeatureSelect = 0;
  readonly #driverFeatures = new Uint32Array(FEATURE_WINDOWS);
  #configVector = VIRTIO_MSI_NO_VECTOR;
  #queueSelect = 0;

  constructor(specs: readonly QueueSpec[], events: CommonConfigEvents) {
    this.queues = specs.map((spec) => new QueueRegisters(spec));
    this.#events = events;
  }

  /** The feature bits that the driver wrote. */
  get driverFeatures(): bigint {
    return this.#driverFeatures.reduceRight((above, word) => (above << 32n) | BigInt(word), 0n);
  }

  /** The vector of configuration changes, or `VIRTIO_MSI_NO_VECTOR`. */
  get configVector(): number {
    return this.#vector(this.#configVector);
  }

  queueVector(index: number): number {
    return this.#vector(this.queues[index]!.vector);
  }

  read(offset: number, length: number): Uint8Array {
    this.#refresh(false);
    const out = new Uint8Array(length);
    if (offset < COMMON.size) out.set(this.#imageBytes.subarray(offset, offset + length));
    return out;
  }

  write(offset: number, bytes: Uint8Array): void {
    const end = offset + bytes.length;
    for (const field of WRITABLE) {
      if (field.offset >= end) break;
      if (field.offset + field.size <= offset) continue;
      // What an earlier field of the same write changed (queue_select) changes what this one holds.
      this.#refresh(true);
      const from = Math.max(offset, field.offset);
      const to = Math.min(end, field.offset + field.size);
      this.#imageBytes.set(bytes.subarray(from - offset, to - offset), from);
      this.#set(field.offset, this.#get(field));
    }
  }

  reset(): void {
    this.#deviceFeatureSelect = 0;
    this.#driverFeatureSelect = 0;
    this.#driverFeatures.fill(0);
    this.#configVector = VIRTIO_MSI_NO_VECTOR;
    this.#queueSelect = 0;
    for (const queue of this.queues) queue.reset();
  }

  save(): Record<string, unknown> {
    return {
      deviceFeatureSelect: this.#deviceFeatureSelect,
      driverFeatureSelect: this.#driverFeatureSelect,
      driverFeatures: this.driverFeatures,
      configVector: this.#configVector,
      queueSelect: this.#queueSelect,
      queues: this.queues.map((queue) => queue.save()),
    };
  }

  /** @throws StateError when it can't be. */
  restore(state: StateFields): void {
    this.#deviceFeatureSelect = state.number('deviceFeatureSelect', 0xffff_ffff);
    this.#driverFeatureSelect = state.number('driverFeatureSelect', 0xffff_ffff);
    let features = state.bigint('driverFeatures');
    for (let window = 0; window < FEATURE_WINDOWS; window++) {
      this.#driverFeatures[window] = Number(features & 0xffff_ffffn);
      features >>= 32n;
    }
    this.#configVector = state.number('configVector', 0xffff);
    this.#queueSelect = state.number('queueSelect', 0xffff);
    const queues = state.list('queues', this.queues.length);
    for (const [index, queue] of this.queues.entries()) queue.restore(queues[index]!);
  }

  #get({ offset, size }: Field): number {
    if (size === 1) return this.#image.getUint8(offset);
    return size === 2 ? this.#image.getUint16(offset, true) : this.#image.getUint32(offset, true);
  }

  #vector(written: number): number {
    return written < this.#events.vectors ? written : VIRTIO_MSI_NO_VECTOR;
  }

  /**
   * Brings the image up to date: with what a read sees, or with what was written, which a write in pieces completes.
   */
  #refresh(written: boolean): void {
    const offered = this.#events.offered();
    const image = this.#image;
    const window = this.#deviceFeatureSelect;
    image.setUint32(COMMON.device_feature_select, window, true);
    image.setUint32(COMMON.device_feature, Number((offered >> BigInt(32 * window)) & 0xffff_ffffn), true);
    image.setUint32(COMMON.driver_feature_select, this.#driverFeatureSelect, true);
    image.setUint32(COMMON.driver_feature, this.#driverFeatures[this.#driverFeatureSelect] ?? 0, true);
    image.setUint16(COMMON.config_msix_vector, written ? this.#configVector : this.configVector, true);
    image.setUint16(COMMON.num_queues, this.queues.length, true);
    image.setUint8(COMMON.device_status, this.#events.readStatus());
    image.setUint8(COMMON.config_generation, this.#events.generation());
    image.setUint16(COMMON.queue_select, this.#queueSelect, true);
    this.#imageBytes.fill(0, COMMON.queue_size);
    const queue = this.queues[this.#queueSelect];
    if (queue === undefined) {
      image.setUint16(COMMON.queue_msix_vector, VIRTIO_MSI_NO_VECTOR, true);
      return;
    }
    image.setUint16(COMMON.queue_size, written ? queue.size : queue.visibleSize(this.#events.packed()), true);
    image.setUint16(COMMON.queue_msix_vector, written ? queue.vector : this.#vector(queue.vector), true);
    image.setUint16(COMMON.queue_enable, queue.enabled ? 1 : 0, true);
    image.setUint16(COMMON.queue_notify_off, this.#queueSelect, true);
    for (let i = 0; i < 6; i++) image.setUint32(COMMON.queue_desc + 4 * i, queue.halves[i]!, true);
    if (this.#events.notifConfigData()) {
      image.setUint16(COMMON.queue_notif_config_data, notifConfigData(this.#queueSelect), true);
    }
    image.setUint16(COMMON.queue_reset, queue.resetting ? 1 : 0, true);
  }

  #set(offset: number, value: number): void {
    switch (offset) {
      case COMMON.device_feature_select:
        this.#deviceFeatureSelect = value;
        return;
      case COMMON.driver_feature_select:
        this.#driverFeatureSelect = value;
        return;
      case COMMON.driver_feature:
        if (this.#driverFeatureSelect < FEATURE_WINDOWS && this.#events.featuresOpen()) {
          this.#driverFeatures[this.#driverFeatureSelect] = value;
        }
        return;
      case COMMON.config_msix_vector:
        this.#configVector = value;
        return;
      case COMMON.device_status:
        this.#events.writeStatus(value);
        return;
      case COMMON.queue_select:
        this.#queueSelect = value;
        return;
      default:
        this.#setQueue(offset, value);
    }
  }

  #setQueue(offset: number, value: number): void {
    const index = this.#queueSelect;
    const queue = this.queues[index];
    if (queue === undefined) return;
    if (offset === COMMON.queue_msix_vector) {
      queue.vector = value;
    } else if (offset === COMMON.queue_reset) {
      if (value !== 1 || !this.#events.ringReset() || queue.resetting) return;
      queue.resetting = true;
      this.#events.resetQueue(index);
    } else if (queue.enabled || queue.resetting) {
      // A running queue stays where it is (§4.1.4.3.2), and 0 is nothing that a driver may write to queue_enable.
    } else if (offset === COMMON.queue_enable) {
      if (value !== 1) return;
      queue.enabled = true;
      this.#events.enableQueue(index);
    } else if (offset === COMMON.queue_size) {
      queue.size = value;
    } else {
      queue.halves[(offset - COMMON.queue_desc) / 4] = value;
    }
  }
}
