import { GuestMemory } from '../../memory/guest-memory.js';
import { MappedView } from '../../memory/mapped-view.js';
import type { MemoryView } from '../../memory/memory-view.js';
import type { DeviceQueueOptions } from '../../virtqueue/device-queue-options.js';
import { SplitDeviceQueue } from '../../virtqueue/split/device.js';
import { splitRegionSize } from '../../virtqueue/split/inflight-layout.js';
import { PoliteDriver, type SentRequest } from '../../virtqueue/testing/polite-driver.js';
import type { Alarm } from '../clock.js';
import { described } from '../described.js';
import type { DeviceQueue, VirtioDevice } from '../device.js';
import { DeviceRunner } from '../device-runner.js';
import { RING_FEATURES } from '../features.js';
import type { Layout } from '../layout.js';
import { LocalDurable } from '../local-durable.js';
import { LocalSharedMemory } from '../local-shared-memory.js';
import { type MakeDevice, madeDevice } from '../make-device.js';
import { combineMonitors, type Monitor } from '../monitor.js';
import { didYouMean } from '../nearest.js';
import type { DeviceSharedMemory } from '../shared-memory.js';
import { Struct } from '../struct.js';
import { FakeClock } from './fake-clock.js';

/** What a bench may be told. */
export interface BenchOptions {
  /** What the driver accepts of the device's own feature bits: a mask, or their numbers. All of them unless told. */
  readonly features?: bigint | readonly number[];
  /** Looks on. */
  readonly monitor?: Monitor | undefined;
  /** How the device sees guest memory, and what is kept for it. @internal */
  readonly seen?: (view: MemoryView) => MemoryView;
  /** What is in flight is kept as a front-end has it kept, and not as a keeper. @internal */
  readonly tracked?: boolean;
}

/** Who waits for an answer. */
interface Waiting {
  readonly queue: number;
  resolve(answer: Uint8Array): void;
  reject(error: Error): void;
}

/**
 * A device on the bench: a polite driver for each queue, a clock that stands still until told, and all that the device does to be looked
 * at. Queues go by their number or their name.
 */
export class DeviceBench {
  readonly clock: FakeClock = new FakeClock();
  /** The device's shared memory regions, by id, as its driver sees them. */
  readonly sharedMemory: ReadonlyMap<number, DeviceSharedMemory>;
  /** What runs the device: another one after each `restart`. */
  get runner(): DeviceRunner {
    return this.#runner;
  }
  /** What it printed. */
  readonly lines: string[] = [];
  /** What there was to warn of. */
  readonly warnings: string[] = [];
  /** What it threw, with its stack. */
  readonly errors: unknown[] = [];
  /** Interrupts by queue. */
  readonly interrupts: number[];
  configInterrupts = 0;
  /** Queues that broke, and `undefined` for the device. */
  readonly broken: (number | undefined)[] = [];
  #drivers: readonly PoliteDriver[] = [];
  readonly #waiting = new Map<SentRequest, Waiting>();
  /** By queue: answers that nobody waits for. */
  readonly #received: Uint8Array[][];
  readonly #deferred: (() => void)[] = [];
  readonly #given: MakeDevice | VirtioDevice;
  readonly #monitor: Monitor | undefined;
  readonly #seen: BenchOptions['seen'];
  readonly #ours: boolean;
  readonly #durable: LocalDurable;
  #runner!: DeviceRunner;
  /** Alarms of the process that runs the device. */
  readonly #alarms = new Set<Alarm>();
  /** What each queue's rings are made of, and where it is kept what is in flight; none before `start`. */
  #rings: readonly DeviceQueueOptions[] = [];
  /** What the driver accepted, while it has the device. */
  #accepted: bigint | undefined;

  /**
   * Puts a device on the bench, and has a driver make it ready.
   *
   * @param given - what makes the device, or the device itself.
   * @throws TypeError when it is neither.
   */
  constructor(
    given: MakeDevice | VirtioDevice,
    { features, monitor, seen, tracked = false }: BenchOptions = {},
  ) {
    const device = madeDevice(given, 'DeviceBench');
    const collect: Monitor = { queue: (queue) => new FlushedQueue(queue, () => this.#collect()) };
    this.#given = given;
    this.#monitor = combineMonitors([collect, monitor]);
    this.#seen = seen;
    this.#ours = !tracked;
    this.#durable = new LocalDurable(true, seen);
    this.interrupts = device.queues.map(() => 0);
    this.#received = device.queues.map(() => []);
    this.sharedMemory = new LocalSharedMemory(device.sharedMemory ?? []).regions;
    this.#run(device);
    this.start(features);
  }

  /** The driver's end of each queue, to send and receive by hand. */
  get drivers(): readonly PoliteDriver[] {
    return this.#drivers;
  }

  /** A driver comes, with rings of its own, and makes the device ready: after `reset`. @param features - as the constructor's. */
  start(features: bigint | readonly number[] = this.runner.device.features): void {
    const { device } = this.runner;
    this.#accepted = maskOf(features) | RING_FEATURES;
    this.runner.accept(this.#accepted);
    this.#drivers = device.queues.map(
      ({ size }) => new PoliteDriver({ size, eventIdx: true, indirect: true }),
    );
    this.#rings = this.#drivers.map((driver) => this.#ringOf(driver));
    this.#startQueues();
    this.runner.activate();
    this.settle();
  }

  /**
   * Has the device's process die where it is, and another go on, as `serve` has it: a device that is made anew, with the configuration space
   * as the driver saw it last, what was left in durable memory, and the requests that were not answered. Time goes on; the driver hears nothing of it, but is
   * interrupted once for each queue.
   *
   * @param given - another device, or what makes it. What the bench was given unless told.
   * @throws TypeError when that is a device, of which there is but one.
   */
  restart(given: MakeDevice | VirtioDevice = this.#given): void {
    const { device } = this.runner;
    if (given === device) throw new TypeError('restart takes a device that is made anew, or what makes it');
    const next = madeDevice(given, 'restart');
    next.config.restore(device.config.read(0, device.config.size));
    this.#deferred.length = 0;
    for (const alarm of this.#alarms) alarm.close();
    this.#run(next);
    if (this.#accepted === undefined) return;
    this.runner.accept(this.#accepted);
    this.#startQueues();
    this.runner.activate();
    for (const [index] of this.#rings.entries()) {
      this.runner.kick(index);
      this.interrupts[index]! += 1;
    }
    this.settle();
  }

  /** The driver resets the device, and goes: what it sent is gone too. */
  reset(): void {
    this.#accepted = undefined;
    this.runner.reset();
    this.#giveUp('the device was reset');
    this.settle();
  }

  /** Puts edited code in the device's place, as a save does while a guest runs. @throws as `Server.replace`. */
  replace(given: MakeDevice | VirtioDevice): void {
    this.runner.replace(madeDevice(given, 'replace'));
    this.settle();
  }

  /**
   * Has the driver's VMM stop a queue, as it does when the guest is shut down. @returns whether it stands: `false` while the device holds
   * chains of it, for which it waits.
   */
  stop(queue: number | string): boolean {
    const index = this.#indexOf(queue);
    let stopped = false;
    this.runner.holdQueue(index);
    this.runner.whenDrained(index, () => {
      stopped = true;
    });
    this.settle();
    return stopped;
  }

  /** Shows the device what was sent on this queue, and kicks it. */
  kick(queue: number | string): void {
    const index = this.#indexOf(queue);
    this.#drivers[index]!.publish();
    this.runner.kick(index);
    this.settle();
  }

  /**
   * Sends one request, and returns the answer that the device gives at once; `undefined` when it did not.
   *
   * @param room - bytes for the answer.
   */
  ask(queue: number | string, bytes: Uint8Array, room: number): Uint8Array | undefined {
    const driver = this.#drivers[this.#indexOf(queue)]!;
    driver.send(bytes.length > 0 ? [bytes] : [], room > 0 ? [room] : []);
    this.kick(queue);
    return driver.receive()?.bytes;
  }

  /**
   * Sends one request and waits for the answer, for as long as it takes: for `async` handlers, and those that wait for `advance`. Many may
   * be under way.
   *
   * @param room - bytes for the answer.
   * @throws Error when the queue breaks or the device is reset meanwhile.
   */
  request(queue: number | string, bytes: Uint8Array, room: number): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      const index = this.#indexOf(queue);
      const sent = this.#drivers[index]!.sent([bytes], room > 0 ? [room] : []);
      if (sent === undefined) throw new RangeError(`queue ${queue} is full: take answers first`);
      this.#waiting.set(sent, { queue: index, resolve, reject });
      this.kick(queue);
    });
  }

  /**
   * The same with structs: what the answer's stands for.
   *
   * @throws Error when the answer is too short: what the device warned of is in the message.
   */
  async call<Q, R>(
    queue: number | string,
    request: Layout<Q>,
    values: NoInfer<Q>,
    response: Layout<R>,
  ): Promise<R> {
    const answer = await this.request(queue, request.encode(values), response.most);
    if (answer.length >= response.size) return response.decode(answer);
    const why = this.warnings.at(-1) ?? 'nothing was warned of';
    const options = this.errors.length > 0 ? { cause: this.errors.at(-1) } : {};
    throw new Error(`the answer has ${answer.length} bytes, and not ${response.size}: ${why}`, options);
  }

  /** Posts buffers for the device to fill whenever it likes. @param room - bytes of each. */
  post(queue: number | string, room: number, count = 1): void {
    const driver = this.#drivers[this.#indexOf(queue)]!;
    for (let i = 0; i < count; i++) {
      if (!driver.send([], [room])) throw new RangeError(`queue ${queue} is full: ${i} buffers were posted`);
    }
    this.kick(queue);
  }

  /** What the device wrote into buffers that were posted, in order; each is returned once. */
  received(queue: number | string): Uint8Array[] {
    const index = this.#indexOf(queue);
    this.#reap(index);
    return this.#received[index]!.splice(0);
  }

  /** What a driver reads of the configuration space: all of it, or the values of its struct. */
  readConfig(): Uint8Array;
  readConfig<C>(config: Layout<C>): C;
  readConfig<C>(config?: Layout<C>): Uint8Array | C {
    const bytes = this.runner.readConfig(0, this.runner.device.config.size);
    return config === undefined ? bytes : config.decode(bytes);
  }

  /** Writes as a driver does: bytes at an offset, or fields of the configuration's struct, each by itself. */
  writeConfig(offset: number, bytes: Uint8Array): void;
  writeConfig<C>(config: Layout<C>, values: NoInfer<Partial<C>>): void;
  writeConfig<C>(where: number | Layout<C>, what: Uint8Array | Partial<C>): void {
    if (typeof where === 'number') this.runner.writeConfig(where, what as Uint8Array);
    else if (where instanceof Struct) {
      const all = where.encode(what as object);
      for (const { name, offset, field } of where.placed) {
        if (!(name in (what as object))) continue;
        this.runner.writeConfig(offset, all.subarray(offset, offset + field.size));
      }
    } else throw new TypeError('writeConfig takes an offset and bytes, or a struct and values');
    this.settle();
  }

  /**
   * Asks a control of the device, as `virtio-misc ctl` does: `await bench.control('target', '32M')`.
   *
   * @param words - what is said with it, in order or as `name=value`.
   * @returns what the control returns; for one that waits, later.
   * @throws RangeError for one that is not there, or for words that it can't read; or what it throws.
   */
  async control(name: string, ...words: string[]): Promise<unknown> {
    const { device } = this.runner;
    if (device.control === undefined) throw new RangeError(`${device.name} has no control '${name}'`);
    try {
      const done = device.control(name, words);
      this.settle();
      return await done;
    } finally {
      this.settle();
    }
  }

  /** Lets time pass: alarms ring in their order, each at its own time. */
  advance(ns: number): void {
    this.clock.advance(ns);
    this.settle();
  }

  /** Runs what the runner put off. */
  settle(): void {
    for (let callback = this.#deferred.shift(); callback !== undefined; callback = this.#deferred.shift())
      callback();
    this.#collect();
  }

  /** A process that runs a device. */
  #run(device: VirtioDevice): void {
    const { clock } = this;
    this.#runner = new DeviceRunner(device, {
      sharedMemory: this.sharedMemory,
      durable: this.#durable,
      clock: {
        now: () => clock.now(),
        alarm: (ring) => {
          const inner = clock.alarm(ring);
          const alarm = {
            set: (deadline: number) => inner.set(deadline),
            clear: () => inner.clear(),
            close: () => {
              this.#alarms.delete(alarm);
              inner.close();
            },
          };
          this.#alarms.add(alarm);
          return alarm;
        },
      },
      interrupt: (queue) => {
        this.interrupts[queue]! += 1;
      },
      configInterrupt: () => {
        this.configInterrupts += 1;
      },
      broken: (queue) => this.#broke(queue),
      defer: (callback) => void this.#deferred.push(callback),
      print: (line) => void this.lines.push(line),
      warn: (line, about) => {
        this.warnings.push(line);
        if (about?.error !== undefined) this.errors.push(about.error);
      },
      monitor: this.#monitor,
    });
  }

  /** The device's end of a driver's ring. */
  #ringOf({ device }: PoliteDriver): DeviceQueueOptions {
    const seen = this.#seen;
    const entries = device.size;
    const region = new MappedView(new ArrayBuffer(splitRegionSize(entries)));
    const inflight = { view: region, entries, ours: this.#ours };
    if (seen === undefined) return { ...device, inflight };
    const memory = new GuestMemory();
    for (const { start, view } of device.memory.regions) memory.add({ start, view: seen(view) });
    return { ...device, memory, inflight: { ...inflight, view: seen(region) } };
  }

  #startQueues(): void {
    for (const [index, ring] of this.#rings.entries())
      this.runner.startQueue(index, new SplitDeviceQueue(ring), ring);
  }

  #indexOf(queue: number | string): number {
    const names = this.runner.device.queues.map(({ name }) => name);
    const index = typeof queue === 'number' ? queue : names.indexOf(queue);
    if (names[index] !== undefined) return index;
    const near = typeof queue === 'string' ? didYouMean(queue, names) : '';
    throw new RangeError(`the device has no queue ${queue}${near}`);
  }

  /** Takes answers that somebody waits for; by hand, others take theirs themselves. */
  #collect(): void {
    for (const index of new Set([...this.#waiting.values()].map(({ queue }) => queue))) this.#reap(index);
  }

  #reap(index: number): void {
    const driver = this.#drivers[index]!;
    for (let answer = driver.receive(); answer !== undefined; answer = driver.receive()) {
      const waiting = this.#waiting.get(answer.request);
      this.#waiting.delete(answer.request);
      if (waiting === undefined) this.#received[index]!.push(answer.bytes);
      else waiting.resolve(answer.bytes);
    }
  }

  #broke(queue: number | undefined): void {
    this.broken.push(queue);
    this.#giveUp(this.warnings.at(-1) ?? 'the device broke');
  }

  #giveUp(why: string): void {
    for (const { reject } of this.#waiting.values()) reject(new Error(why));
    this.#waiting.clear();
  }
}

/** @throws TypeError for what is no number of a bit. */
function maskOf(features: bigint | readonly number[]): bigint {
  if (typeof features === 'bigint') return features;
  let mask = 0n;
  for (const bit of features) {
    if (!(Number.isInteger(bit) && bit >= 0 && bit < 128))
      throw new TypeError(
        `features takes a mask (a bigint) or numbers of bits, and ${described(bit)} is none`,
      );
    mask |= 1n << BigInt(bit);
  }
  return mask;
}

/** A queue that tells when the driver was shown something. */
class FlushedQueue implements DeviceQueue {
  readonly index: number;
  readonly name: string;
  readonly pop: DeviceQueue['pop'];
  readonly push: DeviceQueue['push'];
  readonly adopt: DeviceQueue['adopt'];
  readonly serialOf: DeviceQueue['serialOf'];
  readonly isOut: DeviceQueue['isOut'];
  readonly fail: DeviceQueue['fail'];
  readonly flush: DeviceQueue['flush'];
  readonly #queue: DeviceQueue;

  constructor(queue: DeviceQueue, flushed: () => void) {
    this.#queue = queue;
    this.index = queue.index;
    this.name = queue.name;
    this.pop = () => queue.pop();
    this.push = (chain) => queue.push(chain);
    this.adopt = (chain) => queue.adopt(chain);
    this.serialOf = (chain) => queue.serialOf(chain);
    this.isOut = (head, serial) => queue.isOut(head, serial);
    this.fail = (error) => queue.fail(error);
    this.flush = () => {
      queue.flush();
      flushed();
    };
  }

  get ready(): boolean {
    return this.#queue.ready;
  }
}
