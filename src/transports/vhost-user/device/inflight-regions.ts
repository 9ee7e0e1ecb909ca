import type { RingKind } from '../../../virtio/ring-kind.js';
import { type InflightPlace, QUEUE_REGION } from '../../../virtqueue/inflight.js';
import type { Mapping, Os } from '../../ports.js';
import type { InflightDescription } from '../payloads.js';
import { Refusal } from './refusal.js';

/** What a front-end asked a region for, and where in its file that is. */
interface Shared {
  readonly mapping: Mapping;
  readonly queues: number;
  readonly queueSize: number;
  /** Bytes from one queue's to the next. */
  readonly stride: number;
  readonly packed: boolean;
}

/**
 * The inflight region of a connection: where it is kept which requests are in flight, in memory that the front-end hands to the next back-end
 * when this one is gone.
 */
export class InflightRegions {
  readonly #os: Os;
  readonly #queueCount: number;
  #shared: Shared | undefined;

  /** @param queueCount - the device's. */
  constructor(os: Os, queueCount: number) {
    this.#os = os;
    this.#queueCount = queueCount;
  }

  /**
   * GET_INFLIGHT_FD: makes a region, of which nothing is kept here.
   *
   * @returns what it is, with its descriptor, the caller's.
   * @throws Refusal or OsError.
   */
  make(wanted: InflightDescription, kind: RingKind): { description: InflightDescription; fd: number } {
    const { queues, queueSize } = wanted;
    this.#check(wanted, kind);
    const mmapSize = queues * kind.inflightSize(queueSize);
    const { fd, mapping } = this.#os.createMemory('virtio-misc-inflight', mmapSize);
    mapping.release();
    return { description: { mmapSize, mmapOffset: 0, queues, queueSize }, fd };
  }

  /**
   * SET_INFLIGHT_FD: this region from now on, in place of another.
   *
   * @param fd - taken over in any case.
   * @throws Refusal or OsError; then the other one stays.
   */
  set(description: InflightDescription, kind: RingKind, fd: number): void {
    const { mmapSize, mmapOffset, queues, queueSize } = description;
    const stride = kind.inflightSize(queueSize);
    try {
      this.#check(description, kind);
      if (!(mmapSize >= queues * stride)) {
        const text = `${queues} queues of ${queueSize} take ${queues * stride} bytes of an inflight region`;
        throw new Refusal(`${text}, not ${mmapSize}`);
      }
    } catch (error) {
      this.#os.closeFd(fd);
      throw error;
    }
    const mapping = this.#os.map(fd, mmapOffset, queues * stride);
    this.close();
    this.#shared = { mapping, queues, queueSize, stride, packed: kind.packed };
  }

  /**
   * Where this is kept of a queue; `undefined` when it is not.
   *
   * @throws Refusal when the region is for other rings.
   */
  placeOf(index: number, size: number, kind: RingKind): InflightPlace | undefined {
    const shared = this.#shared;
    if (shared === undefined || index >= shared.queues) return undefined;
    if (shared.packed !== kind.packed) {
      throw new Refusal(`the inflight region is one of ${shared.packed ? 'packed' : 'split'} rings`);
    }
    if (size > shared.queueSize) {
      throw new Refusal(
        `the inflight region is for rings of ${shared.queueSize}, and ring ${index} has ${size}`,
      );
    }
    const view = shared.mapping.view.slice(index * shared.stride, shared.stride);
    return { view, entries: shared.queueSize };
  }

  /** Whether it is kept of this queue what is in flight. */
  has(index: number): boolean {
    return this.#shared !== undefined && index < this.#shared.queues;
  }

  /** Nothing is in flight on this queue, as if its region was never used. It does not run now. */
  forget(index: number): void {
    if (!this.has(index)) return;
    const { mapping, stride } = this.#shared!;
    mapping.view.write16(index * stride + QUEUE_REGION.version, 0);
  }

  close(): void {
    this.#shared?.mapping.release();
    this.#shared = undefined;
  }

  #check({ queues, queueSize }: InflightDescription, kind: RingKind): void {
    if (!(queues >= 1 && queues <= this.#queueCount)) {
      throw new Refusal(`an inflight region is for 1 to ${this.#queueCount} queues here, not ${queues}`);
    }
    // A ring may be smaller, so that of split ones too this need not be a power of two.
    if (!(queueSize >= 1 && queueSize <= 32768)) {
      throw new Refusal(`a ${kind.packed ? 'packed' : 'split'} ring has no ${queueSize} descriptors`);
    }
  }
}
