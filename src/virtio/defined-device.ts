import { MemoryError } from '../memory/memory-error.js';
import type { Chain } from '../virtqueue/chain.js';
import { LostChainError } from '../virtqueue/lost-chain-error.js';
import { VirtqueueError } from '../virtqueue/virtqueue-error.js';
import type { ChainQueue, DeviceQueues, Running } from './chain-queue.js';
import { ConfigSpace } from './config-space.js';
import { controlInfos, readWords } from './control.js';
import type { ControlInfo } from './control-info.js';
import type { DeviceHost, DeviceQueue, QueueSpec, VirtioDevice } from './device.js';
import type { DeviceDefinition, QueueGroup } from './device-definition.js';
import type { Layout } from './layout.js';
import { didYouMean } from './nearest.js';
import type { SharedMemorySpec } from './shared-memory.js';
import { SlowHandlers } from './slow-handlers.js';
import type { Fields, Values } from './struct.js';
import { handlerOf } from './struct-queue.js';

/** What front-ends take that can't be told, and suits disks and nets. */
const DEFAULT_SIZE = 256;

/** The device of a definition that was checked. */
export class DefinedDevice<C extends Fields> implements VirtioDevice {
  readonly id: number;
  readonly name: string;
  readonly features: bigint;
  readonly queues: readonly QueueSpec[];
  readonly config: ConfigSpace;
  readonly configLayout: Layout<unknown> | undefined;
  readonly featureNames: Readonly<Record<string, number>>;
  readonly sharedMemory: readonly SharedMemorySpec[];
  /** Not of a definition that has none. */
  readonly save?: () => unknown;
  readonly restore?: (state: unknown) => void;
  readonly #definition: DeviceDefinition<C>;
  readonly #queues: readonly ChainQueue<C>[];
  readonly #fields: Values<C>;
  /** By queue. */
  readonly #handlers: readonly (ChainQueue<C>['handle'] | undefined)[];
  #running: Running<C> | undefined;
  #slow: SlowHandlers | undefined;

  constructor(definition: DeviceDefinition<C>) {
    this.#definition = definition;
    if (definition.save !== undefined) this.save = () => definition.save!();
    if (definition.restore !== undefined) this.restore = (state) => definition.restore!(state);
    this.id = definition.id;
    this.name = definition.name;
    this.sharedMemory = definition.sharedMemory ?? [];
    this.features = 0n;
    this.featureNames = definition.features ?? {};
    for (const bit of Object.values(this.featureNames)) this.features |= 1n << BigInt(bit);
    this.#queues = definition.queues.flatMap((entry) => ('upTo' in entry ? numbered(entry) : [entry]));
    this.queues = this.#queues.map(({ name, size = DEFAULT_SIZE, sizeLimit, shape }) => {
      if (sizeLimit !== undefined && sizeLimit < size)
        throw new RangeError(`queue ${name} has size ${size}, above its limit ${sizeLimit}`);
      return { name, size, shape, ...(sizeLimit !== undefined && { sizeLimit }) };
    });
    this.#handlers = this.#queues.map((queue) => handlerOf(queue, definition.checkAnswers ?? true));
    const { struct, initial = {}, writable = [] } = definition.config ?? {};
    this.configLayout = struct as Layout<unknown> | undefined;
    const places = struct?.placed.map(({ offset, field }): [number, number] => [offset, offset + field.size]);
    const names = struct?.placed.map(({ name }) => name) ?? [];
    this.config = new ConfigSpace(
      struct?.size ?? 0,
      writable.map((name) => places![names.indexOf(name as string)]!),
      places,
    );
    this.#fields = (struct?.over(this.config.view) ?? {}) as Values<C>;
    Object.assign(this.#fields, initial);
  }

  activate(host: DeviceHost): void {
    const bits = this.#definition.features ?? {};
    this.#slow = undefined;
    this.#running = {
      ...host,
      queues: named(host.queues),
      config: this.#fields,
      has: (feature) => {
        const bit = bits[feature];
        if (bit === undefined)
          throw new TypeError(
            `the device has no feature ${feature}${didYouMean(feature, Object.keys(bits))}`,
          );
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

  queueStopping(queue: DeviceQueue): void {
    if (this.#running !== undefined) this.#queues[queue.index]!.stopping?.(this.#running, queue);
  }

  configWritten(): void {
    this.#definition.configWritten?.(this.#running ?? { config: this.#fields });
  }

  reset(): void {
    this.#running = undefined;
    this.#slow = undefined;
    if (this.#definition.reset === undefined) return;
    this.#definition.reset({ config: this.#fields });
    // It may have written there, and the next driver reads it before it is active.
    this.config.changed();
  }

  get controls(): readonly ControlInfo[] {
    return controlInfos(this.#definition.controls ?? {});
  }

  async control(name: string, words: readonly string[]): Promise<unknown> {
    const { controls = {} } = this.#definition;
    if (!Object.hasOwn(controls, name))
      throw new RangeError(`${this.name} has no control '${name}'${didYouMean(name, Object.keys(controls))}`);
    const { parameters, run } = controls[name]!;
    const said = readWords(parameters, words);
    if (this.#running === undefined) throw new RangeError('no driver has the device yet');
    const { queues } = this.#running;
    // What the runner does for calls of its own. The driver may have to answer before a promise settles.
    const flush = (): void => {
      for (const queue of queues) queue.flush();
    };
    try {
      const done = run(said, this.#running);
      flush();
      return await done;
    } finally {
      flush();
    }
  }

  replaced(): void {
    if (this.#running !== undefined) this.#definition.replaced?.(this.#running);
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
    this.#slow ??= new SlowHandlers(running);
    const slow = this.#slow;
    const started = slow.started(queue.index);
    pending
      .catch((error: unknown) => {
        // After a reset nobody waits for this request any more, and its memory may be gone; or its queue was stopped without it.
        if (this.#running !== running || error instanceof LostChainError) return;
        if (error instanceof MemoryError || error instanceof VirtqueueError) queue.fail(error);
        else this.#failed(error, queue);
      })
      .finally(() => {
        slow.settled(queue.index, started);
        queue.push(chain);
        queue.flush();
      });
  }

  /** A handler threw: this request comes back as far as it was answered, and the device goes on. */
  #failed(error: unknown, queue: DeviceQueue): void {
    this.#running?.warn(
      `a request on ${queue.name} failed: ${error instanceof Error ? error.message : String(error)}`,
      { queue: queue.name, error },
    );
  }
}

/** The queues of a group, one after the other. */
function numbered<C extends Fields>({ upTo, queues }: QueueGroup<C>): ChainQueue<C>[] {
  return Array.from({ length: upTo }, (_, i) =>
    queues.map((queue) => ({ ...queue, name: `${queue.name}${i + 1}` })),
  ).flat();
}

/** The queues by their names too. */
function named(queues: readonly DeviceQueue[]): DeviceQueues {
  const all = [...queues];
  for (const queue of queues) Object.defineProperty(all, queue.name, { value: queue });
  return all as unknown as DeviceQueues;
}
