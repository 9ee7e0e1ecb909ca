import { GuestAllocator } from '../memory/guest-allocator.js';
import { type Abortable, abortable } from './abortable.js';
import { BufferQueue } from './buffer-queue.js';
import { anything, aSignal, checkOptions, type OptionRule } from './check-options.js';
import { type DriverTransport, TransportError } from './driver-transport.js';
import { ALL_RING_FEATURES, VIRTIO_F_RING_RESET, VIRTIO_F_SUSPEND, VIRTIO_F_VERSION_1 } from './features.js';
import { type RingFeatures, ringFeatureBits } from './ring-features.js';
import { RingKind } from './ring-kind.js';
import type { DriverSharedMemory } from './shared-memory.js';

/** What a driver wants of its device. */
export interface DriverOptions extends Abortable {
  /** The virtio device id that it drives. Where the transport does not tell, it is taken on trust. */
  readonly id: number;
  /** The device-type feature bits that it understands. */
  readonly features: bigint;
  /** How many queues it uses, from queue 0 on. */
  readonly queues: number;
  /** The most descriptors for each queue; 128 unless told, or what the device can take if that is less. */
  readonly queueSize?: number;
  /** Ring features that it does without, set to `false`, or all those that it takes, as bits. Every one that we have unless told. */
  readonly ringFeatures?: RingFeatures | bigint;
}

/** A driver's hold on a device that is ready. */
export interface Driver {
  /** The device-type feature bits that were negotiated. */
  readonly features: bigint;
  readonly queues: readonly BufferQueue[];
  /** Resolves, once the device is lost or needs a reset, with why. */
  readonly failure: Promise<Error>;
  /** Reads configuration space in one piece, again until no change came in between (VIRTIO 1.3 §2.5.1). */
  readConfig(offset: number, length: number, options?: Abortable): Promise<Uint8Array>;
  writeConfig(offset: number, bytes: Uint8Array, options?: Abortable): Promise<void>;
  onConfigChange(changed: () => void): void;
  /** The device's shared memory regions (VIRTIO 1.3 §2.10), by id. */
  sharedMemory(): Promise<ReadonlyMap<number, DriverSharedMemory>>;
  /**
   * Resets one queue while the others go on (VIRTIO 1.3 §2.6.1). Requests that the device did not answer before reject (`TransportError` `RESET`),
   * and the device may have carried them out; what is sent meanwhile, and room that was posted, it gets afterwards.
   *
   * @param options - with another number of descriptors from now on.
   * @throws TransportError `REFUSED` when the device can't: VIRTIO_F_RING_RESET was not negotiated. RangeError for a queue or a size that can't be.
   */
  resetQueue(index: number, options?: { readonly queueSize?: number }): Promise<void>;
  /**
   * Has the device stand still (VIRTIO 1.4 §3.4): it finishes what it has, and touches nothing from when this resolves until `resume`. What is sent meanwhile
   * waits, and `writeConfig` is refused.
   *
   * @throws TransportError `REFUSED` when the device can't: VIRTIO_F_SUSPEND was not negotiated.
   */
  suspend(): Promise<void>;
  /** Lets a suspended device go on. Does nothing with one that is not. */
  resume(): Promise<void>;
  /** Resets the device, if it is still there, and lets it go; what is outstanding rejects. Safe to call twice. */
  close(): Promise<void>;
  /** `await using driver = await openDriver(...)`: closes it. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** A device that never stops changing its configuration is not read for ever. */
const CONFIG_TRIES = 100;

/**
 * Takes a device into use: reset, features, queues, ready (VIRTIO 1.3 §3.1.1).
 *
 * @throws TypeError for options that can't be meant; TransportError when there is another device or a queue less, or it refuses; the signal's
 *   reason. The transport is closed then.
 */
export async function openDriver(transport: DriverTransport, options: DriverOptions): Promise<Driver> {
  try {
    checkOptions(options, 'openDriver', OPTIONS);
    for (const name of ['id', 'features', 'queues'] as const) {
      if (options[name] === undefined)
        throw new TypeError(`openDriver is not told ${name}: it takes { id, features, queues }`);
    }
    return await abortable(open(transport, options), options.signal);
  } catch (error) {
    try {
      await transport.giveUp();
    } catch (another) {
      // A device that is lost, or refuses this too, can't be told.
      if (!(another instanceof TransportError)) throw another;
    } finally {
      transport.close();
    }
    throw error;
  }
}

const aNumber: OptionRule = (value) => (Number.isInteger(value) ? undefined : 'a whole number');
const aMask: OptionRule = (value) => (typeof value === 'bigint' ? undefined : 'a bigint, such as 0n');

const OPTIONS: Readonly<Record<keyof DriverOptions, OptionRule>> = {
  id: aNumber,
  features: aMask,
  queues: aNumber,
  queueSize: aNumber,
  ringFeatures: anything,
  signal: aSignal,
};

async function open(transport: DriverTransport, options: DriverOptions): Promise<Driver> {
  const { id, queues: count, queueSize = 128, ringFeatures = ALL_RING_FEATURES } = options;
  const ringBits =
    typeof ringFeatures === 'bigint' ? ringFeatures : ringFeatureBits(ringFeatures, ALL_RING_FEATURES);
  if (transport.deviceId !== undefined && transport.deviceId !== id) {
    throw new TransportError('REFUSED', `the device has virtio id ${transport.deviceId}, not ${id}`);
  }
  const queues: BufferQueue[] = [];
  let fail: (error: Error) => void = () => {};
  const failure = new Promise<Error>((resolve) => {
    fail = (error) => {
      for (const queue of queues) queue.fail(error);
      resolve(error);
    };
  });
  transport.onFailure(fail);
  await transport.reset();
  const features = (await transport.offeredFeatures()) & (options.features | ringBits | VIRTIO_F_VERSION_1);
  if ((features & VIRTIO_F_VERSION_1) === 0n) {
    throw new TransportError('REFUSED', 'the device does not offer VIRTIO_F_VERSION_1 (VIRTIO §6.1)');
  }
  await transport.acceptFeatures(features);

  const kind = new RingKind(features);
  const region = transport.memory.regions[0]!;
  const allocator = new GuestAllocator(region.start, region.view.length);
  const makeRing = async (index: number, size: number): Promise<Ring> => {
    const most = await transport.maxQueueSize(index);
    if (most === 0) throw new TransportError('REFUSED', `the device has no queue ${index}`);
    return kind.driverQueue(transport.memory, allocator, Math.min(size, most));
  };
  for (let index = 0; index < count; index++) {
    const ring = await makeRing(index, queueSize);
    const queue = new BufferQueue(ring, transport.memory, allocator, fail);
    queues.push(queue);
    queue.kick = await transport.startQueue(index, ring, ring.base, () => queue.interrupted());
  }
  await transport.start();
  return new OpenDriver({ transport, negotiated: features, makeRing, fail }, options, queues, failure);
}

type Ring = ConstructorParameters<typeof BufferQueue>[0];

/** What a driver's hold on a device stands on. */
interface Ground {
  readonly transport: DriverTransport;
  /** Every feature bit. */
  readonly negotiated: bigint;
  /** Makes the driver's end of a queue, of at most so many descriptors. */
  makeRing(index: number, size: number): Promise<Ring>;
  fail(error: Error): void;
}

class OpenDriver implements Driver {
  readonly features: bigint;
  readonly queues: readonly BufferQueue[];
  readonly failure: Promise<Error>;
  readonly #ground: Ground;
  readonly #transport: DriverTransport;
  /** What takes several steps of the transport is done one after the other. */
  #last: Promise<void> = Promise.resolve();
  #closed = false;
  #suspended = false;

  constructor(
    ground: Ground,
    { features }: DriverOptions,
    queues: readonly BufferQueue[],
    failure: Promise<Error>,
  ) {
    this.#ground = ground;
    this.#transport = ground.transport;
    this.features = ground.negotiated & features;
    this.queues = queues;
    this.failure = failure;
  }

  readConfig(offset: number, length: number, { signal }: Abortable = {}): Promise<Uint8Array> {
    return abortable(this.#readConfig(offset, length), signal);
  }

  async #readConfig(offset: number, length: number): Promise<Uint8Array> {
    for (let i = 0; i < CONFIG_TRIES; i++) {
      const before = await this.#transport.configGeneration();
      const bytes = await this.#transport.readConfig(offset, length);
      if ((await this.#transport.configGeneration()) === before) return bytes;
    }
    throw new TransportError(
      'PROTOCOL',
      `the configuration space changed during each of ${CONFIG_TRIES} reads`,
    );
  }

  writeConfig(offset: number, bytes: Uint8Array, { signal }: Abortable = {}): Promise<void> {
    if (this.#suspended)
      return Promise.reject(new TransportError('REFUSED', 'the device is suspended (VIRTIO 1.4 §3.4.1)'));
    return abortable(this.#transport.writeConfig(offset, bytes), signal);
  }

  async sharedMemory(): Promise<ReadonlyMap<number, DriverSharedMemory>> {
    return (await this.#transport.sharedMemory?.()) ?? new Map();
  }

  onConfigChange(changed: () => void): void {
    this.#transport.onConfigChange(changed);
  }

  async resetQueue(index: number, { queueSize }: { readonly queueSize?: number } = {}): Promise<void> {
    const { negotiated } = this.#ground;
    const queue = this.queues[index];
    if (queue === undefined) throw new RangeError(`the driver has no queue ${index}`);
    if (queueSize !== undefined && !new RingKind(negotiated).isSize(queueSize)) {
      throw new RangeError(`a queue has no ${queueSize} descriptors`);
    }
    if ((negotiated & VIRTIO_F_RING_RESET) === 0n) {
      throw new TransportError('REFUSED', 'the device can not reset a queue alone (VIRTIO §2.6.1)');
    }
    if (this.#suspended) throw new TransportError('REFUSED', 'the device is suspended');
    queue.hold();
    return this.#after(() => this.#resetQueue(index, queue, queueSize));
  }

  async #resetQueue(index: number, queue: BufferQueue, queueSize: number | undefined): Promise<void> {
    const { makeRing, fail } = this.#ground;
    const transport = this.#transport;
    // An earlier reset may have let it go on.
    queue.hold();
    try {
      await transport.resetQueue(index);
      queue.forgotten(new TransportError('RESET', `queue ${index} was reset before the answer`));
      const ring = await makeRing(index, queueSize ?? queue.size);
      queue.kick = await transport.startQueue(index, ring, ring.base, () => queue.interrupted());
      queue.goOn(ring);
      await transport.start();
    } catch (error) {
      fail(error as Error);
      throw error;
    }
  }

  async suspend(): Promise<void> {
    const transport = this.#transport;
    if ((this.#ground.negotiated & VIRTIO_F_SUSPEND) === 0n || transport.suspend === undefined) {
      throw new TransportError('REFUSED', 'the device can not be suspended (VIRTIO 1.4 §3.4)');
    }
    this.#suspended = true;
    for (const queue of this.queues) queue.hold();
    await this.#after(() => transport.suspend!());
  }

  async resume(): Promise<void> {
    if (!this.#suspended) return;
    await this.#after(() => this.#transport.resume!());
    this.#suspended = false;
    for (const queue of this.queues) queue.goOn();
  }

  /** Does what takes several steps of the transport when the last of such is done. */
  #after(steps: () => Promise<void>): Promise<void> {
    const done = this.#last.then(steps);
    this.#last = done.catch(() => {});
    return done;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    try {
      await this.#transport.reset();
    } catch (error) {
      // A device that is lost needs no reset.
      if (!(error instanceof TransportError)) throw error;
    } finally {
      this.#transport.close();
      for (const queue of this.queues) queue.fail(new TransportError('LOST', 'the driver was closed'));
    }
  }
}
