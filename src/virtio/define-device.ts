import { MemoryError } from '../memory/memory-error.js';
import type { Chain } from '../virtqueue/chain.js';
import { VirtqueueError } from '../virtqueue/virtqueue-error.js';
import type { ChainQueue, Running } from './chain-queue.js';
import { ConfigSpace } from './config-space.js';
import type { DeviceHost, DeviceQueue, QueueSpec, VirtioDevice } from './device.js';
import { isDeviceFeature } from './features.js';
import type { MakeDevice } from './make-device.js';
import type { Fields, Struct, Values } from './struct.js';
import { handlerOf } from './struct-queue.js';

/**
 * Queues of which the front-end, or its driver, takes as many as it likes: one for each CPU, as a rule. A queue that it did not set up
 * is not `ready`, and empty.
 */
export interface QueueGroup<C extends Fields> {
  /** How often the device has them: 1 to 1024. Over vhost-user, rings after the first 256 can't be reached. */
  readonly upTo: number;
  /** What it has each time, such as one for each direction. Their names are numbered from 1 on, as in `requestq1`. */
  readonly queues: readonly ChainQueue<C>[];
}

/** What `defineDevice` makes a device of. All but the id and the queues may be left out. */
export interface DeviceDefinition<C extends Fields> {
  /** The virtio device id (VIRTIO 1.3 §5). */
  readonly id: number;
  /** For log lines, such as `virtio-rng`. */
  readonly name: string;
  /** Feature bits by name: 0-23 and 50-127 (§2.2). Over vhost-user, those above 63 are not offered: its messages have no room. */
  readonly features?: Readonly<Record<string, number>>;
  /** The configuration space, its values at the start, and the fields that a driver may write (none unless told). */
  readonly config?: {
    readonly struct: Struct<C>;
    readonly initial?: Partial<Values<C>>;
    readonly writable?: readonly (keyof C)[];
  };
  /** In order. `structQueue` makes one of requests of one shape; `{ upTo: 8, queues: [...] }` are as many as the front-end wants. */
  readonly queues: readonly (ChainQueue<NoInfer<C>> | QueueGroup<NoInfer<C>>)[];
  /** The driver is ready. */
  activate?(device: Running<C>): void;
  /** The driver wrote to the configuration space. It may before it is ready (§3.1.1): of the device, only `config` is there then. */
  configWritten?(device: Pick<Running<C>, 'config'> & Partial<Running<C>>): void;
  /** The driver is gone: back to the state before `activate`. Alarms and requests in flight end by themselves. */
  reset?(): void;
  /**
   * What the device goes on with when its code is replaced by an edited one: handed to `restore` as it is, not copied. What the driver
   * wrote to the configuration space passes by itself, and requests in flight are finished by the old code.
   */
  save?(): unknown;
  /** Goes on from what `save` returned, before `activate`. It is of the old code's making. */
  restore?(state: unknown): void;
  /** Gives back what it holds, such as an open file: after the last `reset`, or when edited code has taken its place. */
  close?(): void;
}

/** What front-ends take that can't be told, and suits disks and nets. */
const DEFAULT_SIZE = 256;
/** What PCI's registers and QEMU have room for. */
const MOST_QUEUES = 1024;

/**
 * Makes a device of its definition.
 *
 * @param define - called for each front-end anew, so that variables in it are the state of one device.
 * @returns what `serve` takes: makes the device.
 * @throws RangeError when the definition can't be a device.
 */
export function defineDevice<C extends Fields = Record<never, never>>(
  define: DeviceDefinition<C> | (() => DeviceDefinition<C>),
): MakeDevice {
  return () => new DefinedDevice(typeof define === 'function' ? define() : define);
}

class DefinedDevice<C extends Fields> implements VirtioDevice {
  readonly id: number;
  readonly name: string;
  readonly features: bigint;
  readonly queues: readonly QueueSpec[];
  readonly config: ConfigSpace;
  readonly #definition: DeviceDefinition<C>;
  readonly #queues: readonly ChainQueue<C>[];
  readonly #fields: Values<C>;
  /** By queue. */
  readonly #handlers: readonly (ChainQueue<C>['handle'] | undefined)[];
  #running: Running<C> | undefined;

  constructor(definition: DeviceDefinition<C>) {
    this.#definition = definition;
    this.id = definition.id;
    this.name = definition.name;
    this.features = 0n;
    for (const [name, bit] of Object.entries(definition.features ?? {})) {
      if (!isDeviceFeature(bit)) {
        throw new RangeError(
          `feature ${name} has bit ${bit}: a device's own are 0-23 and 50-127 (VIRTIO §2.2)`,
        );
      }
      this.features |= 1n << BigInt(bit);
    }
    this.#queues = definition.queues.flatMap((entry) => ('upTo' in entry ? numbered(entry) : [entry]));
    if (this.#queues.length > MOST_QUEUES) {
      throw new RangeError(`the device has ${this.#queues.length} queues: ${MOST_QUEUES} are the most`);
    }
    this.queues = this.#queues.map(({ name, size = DEFAULT_SIZE, sizeLimit, shape }) => {
      checkSize(name, size);
      if (sizeLimit === undefined) return { name, size, shape };
      checkSize(name, sizeLimit);
      if (sizeLimit < size)
        throw new RangeError(`queue ${name} has size ${size}, above its limit ${sizeLimit}`);
      return { name, size, sizeLimit, shape };
    });
    this.#handlers = this.#queues.map((queue) => handlerOf(queue));
    const { struct, initial = {}, writable = [] } = definition.config ?? {};
    const offsets = struct?.offsets as Record<string, number> | undefined;
    const sizes = (name: keyof C): [number, number] => {
      const from = offsets?.[name as string];
      if (from === undefined) throw new RangeError(`the configuration space has no field ${String(name)}`);
      const next = Object.values(offsets!).filter((offset) => offset > from);
      return [from, Math.min(...next, struct!.size)];
    };
    this.config = new ConfigSpace(struct?.size ?? 0, writable.map(sizes));
    this.#fields = (struct?.over(this.config.view) ?? {}) as Values<C>;
    Object.assign(this.#fields, initial);
  }

  activate(host: DeviceHost): void {
    const bits = this.#definition.features ?? {};
    this.#running = {
      ...host,
      config: this.#fields,
      has: (feature) => {
        const bit = bits[feature];
        if (bit === undefined) throw new TypeError(`the device has no feature ${feature}`);
        return ((host.features >> BigInt(bit)) & 1n) === 1n;
      },
    };
    this.#definition.activate?.(this.#running);
  }

  queueNotified(queue: DeviceQueue): void {
    const handle = this.#handlers[queue.index];
    if (handle === undefined) {
      this.#queues[queue.index]!.posted?.(this.#running!, queue);
      return;
    }
    for (let chain = queue.pop(); chain !== undefined; chain = queue.pop())
      this.#handle(handle, chain, queue);
  }

  configWritten(): void {
    this.#definition.configWritten?.(this.#running ?? { config: this.#fields });
  }

  reset(): void {
    this.#running = undefined;
    this.#definition.reset?.();
  }

  save(): unknown {
    return this.#definition.save?.();
  }

  restore(state: unknown): void {
    this.#definition.restore?.(state);
  }

  close(): void {
    this.#definition.close?.();
  }

  #handle(handle: NonNullable<ChainQueue<C>['handle']>, chain: Chain, queue: DeviceQueue): void {
    const running = this.#running!;
    let pending: unknown;
    try {
      pending = handle(chain, running, queue);
    } catch (error) {
      if (error instanceof MemoryError || error instanceof VirtqueueError) throw error;
      this.#failed(error, queue);
    }
    if (!(pending instanceof Promise)) {
      queue.push(chain);
      return;
    }
    pending
      .catch((error: unknown) => {
        // After a reset nobody waits for this request any more, and its memory may be gone.
        if (this.#running !== running) return;
        if (error instanceof MemoryError || error instanceof VirtqueueError) queue.fail(error);
        else this.#failed(error, queue);
      })
      .finally(() => {
        queue.push(chain);
        queue.flush();
      });
  }

  /** A handler threw: this request comes back as far as it was answered, and the device goes on. */
  #failed(error: unknown, queue: DeviceQueue): void {
    this.#running?.warn(
      `a request on ${queue.name} failed: ${error instanceof Error ? error.message : String(error)}`,
      { queue: queue.name },
    );
  }
}

/** The queues of a group, one after the other. */
function numbered<C extends Fields>({ upTo, queues }: QueueGroup<C>): ChainQueue<C>[] {
  if (!(Number.isInteger(upTo) && upTo >= 1 && upTo <= MOST_QUEUES)) {
    throw new RangeError(`upTo is ${upTo}: take a number of queues from 1 to ${MOST_QUEUES}`);
  }
  return Array.from({ length: upTo }, (_, i) =>
    queues.map((queue) => ({ ...queue, name: `${queue.name}${i + 1}` })),
  ).flat();
}

function checkSize(name: string, size: number): void {
  if (!(size >= 1 && size <= 32768 && Number.isInteger(Math.log2(size)))) {
    throw new RangeError(`queue ${name} has size ${size}: take a power of two up to 32768 (VIRTIO §2.7)`);
  }
}
