import { printable } from '../lines/printable.js';
import { isSuspension, MemoryError } from '../memory/memory-error.js';
import type { DeviceQueueOptions } from '../virtqueue/device-queue-options.js';
import type { Virtqueue } from '../virtqueue/virtqueue.js';
import { VirtqueueError } from '../virtqueue/virtqueue-error.js';
import type { Clock } from './clock.js';
import type { VirtioDevice } from './device.js';
import { DeviceClock } from './device-clock.js';
import type { DurablePort } from './durable.js';
import { DurableStore } from './durable-store.js';
import { FeatureError } from './feature-error.js';
import { featureBits, RING_FEATURES } from './features.js';
import { LocalDurable } from './local-durable.js';
import type { LogContext } from './log-context.js';
import type { Monitor, Print } from './monitor.js';
import { restoreDevice, savedDevice } from './moved-device.js';
import type { Polled, Spin } from './poller.js';
import { portraitOf } from './portrait.js';
import { printLine } from './print-line.js';
import { type QueueEvents, QueueRunner } from './queue-runner.js';
import { checkReplaceable } from './replace-error.js';
import { Resident } from './resident.js';
import type { DeviceSharedMemory } from './shared-memory.js';

/** What a device runs on: a transport's half, and the process's. */
export interface RunnerPorts {
  readonly clock: Clock;
  /** Interrupts the driver for this queue. */
  interrupt(queue: number): void;
  /** Interrupts the driver for a change of the configuration space. */
  configInterrupt(): void;
  /** A queue is broken, or (without a number) the device: the driver must reset it. It was logged already. */
  broken(queue: number | undefined): void;
  /** Calls back soon, from the event loop, after other work that waits had its turn. */
  defer(callback: () => void): void;
  /** Where the device's lines go; `undefined` when nobody reads them. */
  readonly print: Print | undefined;
  warn(line: string, about?: LogContext): void;
  readonly monitor?: Monitor | undefined;
  /** The ring features that are offered; `RING_FEATURES` unless told. */
  readonly ringFeatures?: bigint | undefined;
  /** The device's shared memory regions, by id; none unless told. */
  readonly sharedMemory?: ReadonlyMap<number, DeviceSharedMemory> | undefined;
  /** The driver is ready, and the device was activated for it. */
  activated?(): void;
  /** Where the device's durable memory is had; in this process unless told. */
  readonly durable?: DurablePort | undefined;
  /** The device goes on from what one in another process was at, for the same driver: a reset is one of that, too. */
  readonly begun?: boolean | undefined;
  /** Looks at queues after they were kicked, so that the next kick is not needed. */
  readonly poll?: ((polled: Polled) => Spin) | undefined;
}

/** How long a device may take chains before others have their turn, in ns. */
const TURN = 4e6;

/** How often it is called for one kick, with what came in meanwhile. */
const CALLS_MOST = 128;

/** How many chains it may take when it is looked whether there are any: other queues that are looked at wait meanwhile, and promises. */
const LOOKED_MOST = 128;

/**
 * Runs one device for one driver, whatever the transport: feature negotiation, the queues' life, interrupts, and what
 * becomes of a driver's or a device's mistake. A transport tells it what the driver did and carries out the ports.
 */
export class DeviceRunner {
  readonly #ports: RunnerPorts;
  readonly #queues: readonly QueueRunner[];
  readonly #durable: DurableStore;
  /** By queue, when it is polled. */
  readonly #spins: readonly Spin[];
  #resident: Resident;
  /** Replaced devices that still hold chains, by their numbers as takers. */
  readonly #retired = new Map<number, Resident>();
  #taker = 0;
  #features = 0n;
  #state: 'idle' | 'active' | 'paused' = 'idle';
  /** What was restored is the device's, though it is not active yet. */
  #restored = false;
  #configPending = false;
  /** The device failed, and its driver did not reset it yet. */
  #needsReset = false;
  #busy = false;
  /** When the device has had its turn, ns. */
  #turnEnds: number | undefined;
  /** Its `serving` is the queue whose chain the device took last: whose driver is to blame when reading that chain fails. */
  readonly #events: QueueEvents;
  readonly #deferred = new Set<number>();

  constructor(device: VirtioDevice, ports: RunnerPorts) {
    this.#ports = ports;
    this.#durable = new DurableStore(ports.durable ?? new LocalDurable());
    const events: QueueEvents = {
      interrupt: (index: number) => {
        ports.interrupt(index);
        ports.monitor?.interrupted?.(index);
      },
      broken: (index: number, error: unknown) => {
        const { name, queues } = this.device;
        ports.warn(`${name}: queue ${index} (${queues[index]!.name}) is broken until reset: ${text(error)}`, {
          queue: queues[index]!.name,
        });
        this.#broke(index, error);
      },
      serving: undefined,
      again: (index: number) => this.#kickLater(index),
      late: () => this.#late(),
      // Often from inside that device, which must return first.
      released: () => ports.defer(() => this.#sweep()),
    };
    this.#events = events;
    this.#queues = device.queues.map((_, index) => new QueueRunner(index, events));
    const { poll } = ports;
    this.#spins =
      poll === undefined
        ? []
        : this.#queues.map((queue) =>
            poll({
              begin: () => queue.poll(),
              look: () => this.#look(queue),
              get enough() {
                return !queue.hungry;
              },
              get owing() {
                return queue.owing;
              },
              rest: () => queue.rest(),
            }),
          );
    this.#resident = this.#settle(device);
    this.#restored = ports.begun === true;
  }

  get device(): VirtioDevice {
    return this.#resident.device;
  }

  /** Every feature bit that a driver may accept: the device's and the ring's. */
  get offered(): bigint {
    return this.device.features | (this.#ports.ringFeatures ?? RING_FEATURES);
  }

  /** The bits that the driver accepted. */
  get features(): bigint {
    return this.#features;
  }

  /** Whether it is for a driver that was ready and has not reset it since, though that may have been in another process. */
  get begun(): boolean {
    return this.#state !== 'idle' || this.#restored;
  }

  /** Whether the device was activated and not reset since. */
  get active(): boolean {
    return this.#state !== 'idle';
  }

  get queueCount(): number {
    return this.#queues.length;
  }

  /** @throws FeatureError when a bit was not offered; nothing is accepted then. */
  accept(features: bigint): void {
    if ((features & ~this.offered) !== 0n) throw new FeatureError(features, this.offered);
    this.#features = features;
    this.#ports.monitor?.accepted?.(features, this.offered);
  }

  /** The driver is ready, or (after `pause`) goes on. */
  activate(): void {
    if (this.#state === 'active') return;
    const fresh = this.#state === 'idle';
    this.#state = 'active';
    this.#ports.monitor?.lived?.('running');
    if (fresh) {
      const { clock, device } = this.#resident;
      clock.resume();
      this.#keepTime();
      this.#enter(() => device.activate?.(this.#resident.host(this.#features & device.features)));
      this.#ports.activated?.();
    } else {
      for (const { clock } of this.#residents()) clock.resume();
      this.#keepTime();
    }
    if (this.#configPending) {
      this.#configPending = false;
      this.#interruptForConfig();
    }
  }

  /** The guest stands still: time stops for the device, and nothing is sent to the driver. */
  pause(): void {
    if (this.#state !== 'active') return;
    this.#state = 'paused';
    this.#ports.monitor?.lived?.('paused');
    for (const { clock } of this.#residents()) clock.pause();
    this.#keepTime();
  }

  /**
   * The driver keeps the device from its memory, at any time, and even inside of a call into the device: from now on guest memory is not
   * touched, and the driver not interrupted. Requests in flight go on as far as they can, and nothing is lost.
   */
  suspend(): void {
    this.pause();
    for (const queue of this.#queues) queue.suspend();
  }

  /** Takes `suspend` back: what came meanwhile is written and told. Call `activate` then, and kick. */
  resume(): void {
    for (const queue of this.#queues) queue.resume();
  }

  /**
   * Puts another device in this one's place, with its state; the driver, the rings and what was negotiated stay. The old one hands back
   * the chains that it holds, and its alarms ring until it has; then it is closed.
   *
   * @throws ReplaceError when the driver would notice; or what the device threw. Then the old one goes on, and `device` is closed.
   */
  replace(device: VirtioDevice): void {
    if (this.#busy) throw new TypeError('a device can not be replaced from inside of a call into it');
    const old = this.#resident;
    let next: Resident | undefined;
    this.#busy = true;
    try {
      checkReplaceable(old.device, device, this.#features);
      next = this.#settle(device);
      this.#hand(old, next);
    } catch (error) {
      next?.retire();
      next?.clock.close();
      this.#guard(() => device.close?.(), device);
      throw error;
    } finally {
      this.#busy = false;
    }
    old.retire();
    this.#retired.set(this.#taker, old);
    this.#taker += 1;
    for (const queue of this.#queues) queue.handOver(this.#taker);
    this.#resident = next;
    this.#ports.monitor?.replaced?.(device);
    next.serve();
    // Before the new one is served: what the old one hands back now comes first.
    this.#enter(() => old.device.replaced?.(), old.device);
    if (!device.config.equals(old.device.config)) this.#configChanged();
    for (const queue of this.#queues) {
      queue.flush();
      this.#kickLater(queue.index);
    }
    this.#sweep();
    if (this.#state !== 'idle') this.#sayWhatWaits(old.device);
  }

  /** What the driver has to do before it has all of the device that took another's place. */
  #sayWhatWaits(old: VirtioDevice): void {
    const { name, features } = this.device;
    const added = featureBits(features & ~old.features);
    if (added.length > 0)
      this.#ports.warn(`${name}: feature ${added.join(', ')} is new: the driver sees it when it starts anew`);
    if (this.#needsReset)
      this.#ports.warn(`${name}: the device failed before, and still needs a reset by its driver`);
  }

  /**
   * The device as bytes, to go on elsewhere; it may go on here as well.
   *
   * @throws as `savedDevice`.
   */
  save(): Uint8Array {
    return savedDevice(this.device);
  }

  /**
   * Has the device go on from what another's `save` returned, as soon as it is activated. What it was at before, with no ring under any queue, is
   * forgotten.
   *
   * @throws TypeError while it is active; else as `restoreDevice`: then it is as after a reset.
   */
  restore(bytes: Uint8Array): void {
    if (this.#state === 'active') throw new TypeError('the device is at work');
    this.#forget();
    this.#durable.forget();
    this.#restored = true;
    try {
      restoreDevice(this.device, bytes);
    } catch (error) {
      this.#forget();
      throw error;
    }
  }

  /**
   * Puts a ring under a queue. Call `kick` when the device may serve it: work already in it is served then.
   *
   * @param options - what the ring was made of, for whoever looks on.
   */
  startQueue(index: number, ring: Virtqueue, options?: DeviceQueueOptions): void {
    const { monitor } = this.#ports;
    const wake = (): void => this.#wake(index);
    const watched = options === undefined ? undefined : monitor?.ring?.(index, ring, options, wake);
    this.#queues[index]!.start(watched ?? ring);
  }

  /** Takes the ring away from a queue. @returns the base to start from later; `undefined` when it had none. */
  stopQueue(index: number): number | undefined {
    const base = this.#queues[index]!.stop();
    this.#ports.monitor?.stopped?.(index, base);
    return base;
  }

  /** Shows drivers all that was handed back. */
  flush(): void {
    for (const queue of this.#queues) queue.flush();
  }

  /** The base to start from later, of a queue whose device holds no chain; `undefined` when it has no ring. */
  baseOf(index: number): number | undefined {
    return this.#queues[index]!.base;
  }

  /** Whether the device holds chains of this queue. */
  isOwing(index: number): boolean {
    return this.#queues[index]!.owing;
  }

  /** Calls back, once, as soon as the device holds none of the chains that it held when the ring was last taken away from this queue. */
  whenHome(index: number, done: () => void): void {
    this.#queues[index]!.astray.whenHome(done);
  }

  /** Nobody waits for those. */
  forgetAstray(index: number): void {
    this.#queues[index]!.astray.forget();
  }

  /**
   * Lets the device take no more chains from this queue; those that it holds it can still hand back.
   *
   * @param wanted - it is asked for those that it keeps.
   */
  holdQueue(index: number, wanted = true): void {
    const queue = this.#queues[index]!;
    queue.hold(true);
    if (!wanted || !queue.owing || this.#state === 'idle') return;
    for (const { device, queues } of this.#residents()) {
      if (device.queueStopping !== undefined)
        this.#enter(() => device.queueStopping!(queues[index]!), device);
    }
  }

  /** Takes back `holdQueue`. Call `kick` then: work may have come in. */
  resumeQueue(index: number): void {
    this.#queues[index]!.hold(false);
  }

  /** Has the device take what an earlier one took of this queue and did not hand back, and nothing else: the queue is held. */
  takeLeft(index: number): void {
    const queue = this.#queues[index]!;
    for (let left = queue.left, before = left + 1; left > 0 && left < before; left = queue.left) {
      before = left;
      queue.hold(false);
      if (this.#serves(queue)) this.#serve(queue, left);
    }
    queue.hold(true);
  }

  /** The memory of this queue is out of reach for now: as `suspend`, for one queue while the device and its clock go on. */
  suspendQueue(index: number): void {
    this.#queues[index]!.suspend();
  }

  /** Takes `suspendQueue` back. Call `kick` then. @returns `false` when it is still out of reach, and what is missing was asked for. */
  tryQueue(index: number): boolean {
    return this.#queues[index]!.tryToResume();
  }

  /** Calls back as soon as the device holds no chain of this queue, or can't hand them back because it is broken. */
  whenDrained(index: number, done: () => void): void {
    this.#queues[index]!.whenDrained(done);
  }

  /** Breaks a queue for what its driver did: it is empty until it is started anew. The driver hears of it, and the log. */
  breakQueue(index: number, error: Error): void {
    this.#queues[index]!.fail(error);
  }

  isBroken(index: number): boolean {
    return this.#queues[index]!.broken;
  }

  /** The driver kicked this queue, or may have meant to. */
  kick(index: number): void {
    const queue = this.#queues[index];
    if (queue === undefined || !this.#serves(queue)) return;
    this.#ports.monitor?.kicked?.(index);
    this.#serve(queue);
    this.#spins[index]?.worked();
  }

  /** As a kick that nobody sent, soon. */
  #wake(index: number): void {
    this.#ports.defer(() => {
      const queue = this.#queues[index]!;
      if (!this.#serves(queue)) return;
      this.#serve(queue);
      this.#spins[index]?.worked();
    });
  }

  readConfig(offset: number, length: number): Uint8Array {
    const bytes = this.device.config.read(offset, length);
    this.#ports.monitor?.configRead?.(offset, bytes);
    return bytes;
  }

  writeConfig(offset: number, bytes: Uint8Array): void {
    if (this.device.config.write(offset, bytes)) this.configWritten(offset, bytes.length);
  }

  /** For a transport that has written to the device's configuration space itself: tells the device. */
  configWritten(offset: number, length: number): void {
    const { monitor } = this.#ports;
    monitor?.configWritten?.(offset, this.device.config.read(offset, length));
    this.#enter(() => this.device.configWritten?.(offset, length));
  }

  /** Everything that came from the driver is forgotten, its rings and features too (VIRTIO 1.3 §2.4). */
  reset(): void {
    this.#letGo();
    this.#durable.forget();
  }

  #letGo(): void {
    const { monitor } = this.#ports;
    for (const queue of this.#queues) {
      queue.stop();
      queue.astray.forget();
    }
    monitor?.lived?.('reset');
    this.#forget();
    this.#features = 0n;
    this.#configPending = false;
    this.#needsReset = false;
  }

  #forget(): void {
    if (this.#state !== 'idle' || this.#restored) {
      this.#state = 'idle';
      this.#restored = false;
      this.#guard(() => this.device.reset?.());
    }
    this.#resident.clock.close();
    this.#sweep();
  }

  /** The next process's clock goes on from here. */
  #keepTime(): void {
    this.#durable.clock?.save(this.#resident.clock.state);
  }

  /** The device as its successor in another process has to know it. @throws as `save`. */
  portrait(): Uint8Array {
    return portraitOf(this.device, this.#features, this.begun, this.#durable.opened);
  }

  /** Lets the device go, of one that is suspended: another process has its driver, its rings and its place. Nothing else may be called from now on. */
  leave(): void {
    for (const spin of this.#spins) spin.end();
    for (const { clock } of this.#residents()) clock.close();
    this.#guard(() => this.device.replaced?.());
    this.#guard(() => this.device.close?.());
  }

  /** Resets the device and lets it go. What it left behind stays: the front-end may go on with another process. */
  close(): void {
    this.#letGo();
    for (const spin of this.#spins) spin.end();
    this.#guard(() => this.device.close?.());
  }

  #settle(device: VirtioDevice): Resident {
    device.config.settle();
    const clock = new DeviceClock(
      this.#ports.clock,
      (ring) => {
        this.#ports.monitor?.lived?.('rang');
        this.#enter(ring, device);
      },
      (this.#resident as Resident | undefined)?.clock,
    );
    const kept = this.#resident === undefined ? this.#durable.clock?.load() : undefined;
    if (kept !== undefined) clock.goOn(kept);
    const { print, monitor } = this.#ports;
    const ports = {
      sharedMemory: this.#ports.sharedMemory ?? new Map<number, DeviceSharedMemory>(),
      durable: (name: string, size: number) =>
        this.#durable.open(name, size, (place) => place.save(clock.state)),
      configChanged: () => this.#configChanged(),
      print: printLine(print, monitor),
      warn: (line: string, about?: LogContext) =>
        this.#ports.warn(`${device.name}: ${printable(line)}`, about),
    };
    return new Resident(device, this.#queues, clock, ports, this.#ports.monitor);
  }

  /** Tries a device with the state of another. */
  #hand(old: Resident, next: Resident): void {
    next.try();
    next.device.config.takeOver(old.device.config);
    const state = old.device.save?.();
    if (state !== undefined) next.device.restore?.(state);
    if (this.#state !== 'idle') next.device.activate?.(next.host(this.#features & next.device.features));
  }

  /** Lets replaced devices go that hold nothing any more. */
  #sweep(): void {
    for (const [taker, { device, clock }] of this.#retired) {
      if (this.#queues.some((queue) => queue.isOwedBy(taker))) continue;
      this.#retired.delete(taker);
      clock.close();
      this.#guard(() => device.close?.(), device);
    }
  }

  #residents(): Resident[] {
    return [this.#resident, ...this.#retired.values()];
  }

  #configChanged(): void {
    const { config } = this.device;
    config.changed();
    this.#ports.monitor?.configChanged?.(config.read(0, config.size));
    if (this.#state === 'active') this.#interruptForConfig();
    else this.#configPending = this.#state === 'paused';
  }

  #serves(queue: QueueRunner): boolean {
    return queue.running && this.#state === 'active';
  }

  /**
   * Has the device serve a queue, and again at once for as long as the driver adds to it meanwhile: both may share a processor, and then
   * each of the driver's requests comes while the interrupt for the last one is on its way. In all a turn takes no more than one
   * call may.
   */
  #serve(queue: QueueRunner, most?: number): void {
    if (this.#busy) {
      this.#serveLater(queue);
      return;
    }
    const queues = this.#queues;
    this.#turnEnds = undefined;
    for (let i = 0; i < queues.length; i++) queues[i]!.open(most);
    for (let calls = 1; ; calls++) {
      this.#busy = true;
      this.#events.serving = undefined;
      queue.quiet();
      const { device } = this.#resident;
      try {
        // Memory that is reached by messages may have been waited for, and much have happened meanwhile.
        if (this.#serves(queue)) device.queueNotified(this.#resident.queues[queue.index]!);
      } catch (error) {
        this.#failed(error, device);
      }
      this.#busy = false;
      const brisk = queue.brisk && calls < CALLS_MOST;
      let again = false;
      for (let i = 0; i < queues.length; i++) {
        const each = queues[i]!;
        const next = brisk && each === queue;
        if (!each.settle(next)) continue;
        if (next) again = true;
        else this.#kickLater(i);
      }
      if (!again) return;
      for (let i = 0; i < queues.length; i++) queues[i]!.reopen();
    }
  }

  // A function in `#serve` itself would be an object for each call of it.
  #serveLater(queue: QueueRunner): void {
    this.#ports.defer(() => this.#serve(queue));
  }

  /** Looks at a queue without having been told to. @returns how many chains were taken. */
  #look(queue: QueueRunner): number {
    if (this.#busy || this.#state !== 'active' || !queue.waiting) return 0;
    this.#serve(queue, LOOKED_MOST);
    return queue.taken;
  }

  /** Calls into the device, then shows the driver what came of it. */
  #enter(call: () => void, device: VirtioDevice = this.device): void {
    if (this.#busy) {
      // A device whose own act leads back to it (a loopback driver in the same process): later, not nested.
      this.#ports.defer(() => this.#enter(call, device));
      return;
    }
    this.#busy = true;
    this.#turnEnds = undefined;
    this.#events.serving = undefined;
    for (const queue of this.#queues) queue.open();
    this.#guard(call, device);
    this.#busy = false;
    for (const queue of this.#queues) if (queue.settle()) this.#kickLater(queue.index);
  }

  /** Counts from the first look. */
  #late(): boolean {
    const now = this.#ports.clock.now();
    this.#turnEnds ??= now + TURN;
    return now >= this.#turnEnds;
  }

  #kickLater(index: number): void {
    if (this.#deferred.has(index)) return;
    this.#deferred.add(index);
    this.#ports.defer(() => {
      this.#deferred.delete(index);
      this.kick(index);
    });
  }

  #interruptForConfig(): void {
    this.#ports.configInterrupt();
    this.#ports.monitor?.interrupted?.(undefined);
  }

  #broke(index: number | undefined, error: unknown): void {
    this.#ports.broken(index);
    this.#ports.monitor?.broke?.(index, error);
  }

  /** Nothing that a device throws leaves this object. */
  #guard(call: () => void, device: VirtioDevice = this.device): void {
    try {
      call();
    } catch (error) {
      this.#failed(error, device);
    }
  }

  #failed(error: unknown, device: VirtioDevice): void {
    if (isSuspension(error)) {
      for (const queue of this.#queues) queue.retry();
      return;
    }
    const { serving } = this.#events;
    if (serving !== undefined && (error instanceof MemoryError || error instanceof VirtqueueError)) {
      serving.fail(error);
      return;
    }
    // One that is not in place has no say in it.
    const current = device === this.device;
    if (current) this.#needsReset = true;
    const needs = current && this.#state !== 'idle' ? ', and needs a reset by its driver' : '';
    this.#ports.warn(`${device.name}: the device failed${needs}: ${text(error)}`, { error });
    if (current) this.#broke(undefined, error);
  }
}

function text(error: unknown): string {
  return printable(error instanceof Error ? error.message : String(error));
}
