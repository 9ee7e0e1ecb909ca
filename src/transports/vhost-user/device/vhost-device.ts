import { isSuspension, MemoryError } from '../../../memory/memory-error.js';
import type { MemoryView } from '../../../memory/memory-view.js';
import type { VirtioDevice } from '../../../virtio/device.js';
import { DeviceRunner } from '../../../virtio/device-runner.js';
import { Drain as AllDrain } from '../../../virtio/drain.js';
import { VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_RING_RESET } from '../../../virtio/features.js';
import { RingKind } from '../../../virtio/ring-kind.js';
import type { DeviceSharedMemory } from '../../../virtio/shared-memory.js';
import { MAX_QUEUE_SIZE } from '../../../virtqueue/split/layout.js';
import { VirtqueueError } from '../../../virtqueue/virtqueue-error.js';
import type { Notes } from '../../keep.js';
import { KeptDurable } from '../../kept-durable.js';
import { KeptInflight } from '../../kept-inflight.js';
import type { EventPort } from '../../ports.js';
import type { Environment } from '../../session.js';
import { VHOST_USER_FEATURES } from '../../transport-features.js';
import type { IotlbMessage } from '../iotlb-message.js';
import { F_PROTOCOL_FEATURES, VHOST_F_LOG_ALL } from '../messages.js';
import type { InflightDescription, LogDescription, VringAddress } from '../payloads.js';
import { Drain } from './drain.js';
import { InflightRegions } from './inflight-regions.js';
import { DirtyLogging } from './logging.js';
import { MemoryTable } from './memory-table.js';
import { Reach } from './reach.js';
import { INFLIGHT_KEYS } from './records.js';
import { Refusal } from './refusal.js';
import { Ring, type RingStop } from './ring.js';
import { RingPolling } from './ring-polling.js';

/** The messages have room for 64 feature bits. */
const REACHABLE_FEATURES = (1n << 64n) - 1n;
/** Those that are the front-end's, and not the driver's. */
const OUR_FEATURES = F_PROTOCOL_FEATURES | VHOST_F_LOG_ALL;
/** How long requests that are under way are waited for when another process goes on, in ns: those that take longer it carries out anew. */
const YIELD_TIMEOUT = 0.3e9;

/** What a device tells the session that drives it. */
export interface VhostDeviceEvents {
  /** The device changed its configuration space. */
  configChanged(): void;
  /** A ring is served from now on. */
  serving(): void;
  /** Buffers of a ring were used whose front-end said nothing of how to tell it. @returns whether it is told. */
  called(ring: number): boolean;
  /** The driver reset the device, or is another. */
  wasReset(): void;
  /** A ring is broken, likewise. */
  broke(ring: number): void;
  /** Asks the front-end for a translation; see `BackendChannel.ask`. */
  miss(payload: Uint8Array, answered: (ok: boolean) => void): boolean;
  /** A line about what the front-end does. */
  warn(line: string): void;
}

/**
 * A device and its vrings, as the messages of a front-end drive them: what starts and stops when. Every method that takes
 * a ring's index or something for a ring throws `Refusal` (or the error of the queue or the OS) when it can't be done.
 */
export class VhostDevice {
  readonly table: MemoryTable;
  readonly logging: DirtyLogging;
  /** Whether the front-end says so when the driver resets the device. */
  toldOfResets = false;
  readonly #inflight: InflightRegions;
  /** Where our own keeper keeps what is in flight on rings of which the front-end does not. */
  readonly #kept: KeptInflight | undefined;
  readonly #runner: DeviceRunner;
  readonly #rings: readonly Ring[];
  readonly #durable: KeptDurable | undefined;
  /** A driver had the device in a process before this one, in which it stood still. */
  #inherited = false;
  /** The front-end said a device status of 0 of rings that stood still. It is a reset unless they go on. */
  #resetPending = false;
  readonly #environment: Environment;
  readonly #events: VhostDeviceEvents;
  #features = 0n;
  #kind = new RingKind(0n);
  #featuresRefused = false;
  readonly #reach: Reach;
  readonly #drain: Drain;
  readonly #polling: RingPolling;
  #yielding: AllDrain | undefined;

  /** @param sharedMemory - the device's regions, by id. */
  constructor(
    device: VirtioDevice,
    environment: Environment,
    events: VhostDeviceEvents,
    sharedMemory: ReadonlyMap<number, DeviceSharedMemory>,
  ) {
    this.#environment = environment;
    this.#events = events;
    this.table = new MemoryTable(environment.os, environment.maxMemory);
    this.logging = new DirtyLogging(this.table, environment, events.warn);
    this.#inflight = new InflightRegions(environment.os, device.queues.length);
    this.#rings = device.queues.map((_, index) => new Ring(index));
    const { os, keep } = environment;
    this.#kept = keep && new KeptInflight(os, keep, INFLIGHT_KEYS);
    this.#durable = keep && new KeptDurable(os, keep);
    this.#runner = new DeviceRunner(device, {
      sharedMemory,
      durable: this.#durable,
      clock: environment.clock,
      interrupt: (queue) => void this.#interrupt(this.#rings[queue]!),
      configInterrupt: () => events.configChanged(),
      broken: (queue) => {
        for (const ring of this.#rings)
          if (queue === undefined || queue === ring.index) this.#tellBroken(ring);
      },
      defer: environment.defer,
      print: environment.print,
      warn: environment.warn,
      monitor: environment.monitor,
      poll: environment.poll,
      activated: () => environment.activated?.(),
      begun: environment.begun,
      ringFeatures: (environment.ringFeatures ?? VHOST_USER_FEATURES.unlessTold) & VHOST_USER_FEATURES.all,
    });
    this.#reach = new Reach(this.table, this.#runner, this.#rings, {
      miss: (payload, answered) => events.miss(payload, answered),
      update: (ring) => this.#update(ring),
      warn: (line) => events.warn(line),
    });
    this.#drain = new Drain(this.#runner, environment);
    this.#polling = new RingPolling(environment.clock, this.#rings, (index) => this.#runner.kick(index));
  }

  get offered(): bigint {
    return (this.#runner.offered & REACHABLE_FEATURES) | OUR_FEATURES;
  }

  /** Whether it has a configuration space. */
  get hasConfig(): boolean {
    return this.#runner.device.config.size > 0;
  }

  get queueCount(): number {
    return this.#rings.length;
  }

  /** Whether any ring is served, or would be if it was known where it is: the opposite of "suspended". */
  get serving(): boolean {
    return this.#rings.some((ring) => ring.serving || ring.waiting);
  }

  /** Whether the driver's features are acceptable. */
  get featuresOk(): boolean {
    return !this.#featuresRefused;
  }

  /** Whether the driver must reset the device because it broke a ring (VIRTIO 1.3 §2.1.2). */
  get needsReset(): boolean {
    return this.#rings.some((ring) => this.#runner.isBroken(ring.index));
  }

  /** SET_FEATURES. */
  accept(bits: bigint): void {
    const features = bits & ~OUR_FEATURES;
    if (features !== this.#runner.features) {
      if (this.#rings.some((ring) => ring.live))
        throw new Refusal('features can not change while a ring runs');
      // Rings that stand still are those of a paused guest, or of a driver that is gone: this one is another.
      if (this.#runner.active || this.#inherited) this.#forget(this.#rings);
    }
    this.#featuresRefused = true;
    this.#runner.accept(features);
    this.#featuresRefused = false;
    this.#features = features;
    this.#kind = new RingKind(features);
    this.#reach.use((features & VIRTIO_F_ACCESS_PLATFORM) !== 0n);
    this.logging.want((bits & VHOST_F_LOG_ALL) !== 0n);
    this.memoryChanged();
    if ((bits & F_PROTOCOL_FEATURES) !== 0n) return;
    for (const ring of this.#rings) ring.enabled = true;
    for (const ring of this.#rings) this.#update(ring);
  }

  /**
   * IOTLB_MSG. What is taken away is not touched from now on.
   *
   * @throws Refusal
   */
  translate(message: IotlbMessage): void {
    this.#reach.translate(message);
  }

  /** The memory table changed, or who hears of writes to it. */
  memoryChanged(): void {
    this.#reach.memoryChanged();
  }

  /** SET_LOG_BASE. @param fd - taken over in any case. @throws as `DirtyLogging.set` does. */
  setLog(log: LogDescription, fd: number): void {
    this.logging.set(log, fd);
    this.memoryChanged();
    // They tell it what an earlier device may not have told.
    for (const ring of this.#rings) if (ring.serving) this.#runner.kick(ring.index);
  }

  /** SET_VRING_NUM. */
  setSize(index: number, size: number): void {
    const ring = this.#ring(index);
    const { name, sizeLimit: most = MAX_QUEUE_SIZE } = this.#runner.device.queues[index]!;
    if (!this.#kind.isSize(size) || size > most) {
      const text = this.#kind.packed
        ? `1 to ${most} descriptors`
        : `a power of two of descriptors, at most ${most}`;
      throw new Refusal(`ring ${index} (${name}) has ${text}, not ${size}`);
    }
    if (ring.live && ring.size !== size)
      throw new Refusal(`ring ${index} runs with ${ring.size} descriptors`);
    ring.size = size;
  }

  /** SET_VRING_ADDR. */
  setAddresses(addresses: VringAddress): void {
    const { index, descriptor, available, used } = addresses;
    const ring = this.#ring(index);
    const old = ring.addresses;
    const same = old?.descriptor === descriptor && old.available === available && old.used === used;
    if (ring.live && !same) throw new Refusal(`ring ${index} runs at other addresses`);
    ring.addresses = addresses;
    if (!ring.live || (old?.flags === addresses.flags && old.log === addresses.log)) return;
    this.logging.ringChanged();
    this.memoryChanged();
  }

  /** SET_VRING_BASE. */
  setBase(index: number, base: number): void {
    const ring = this.#ring(index);
    if (ring.live) throw new Refusal(`ring ${index} runs`);
    if (base > 0xffff && !this.#kind.packed) {
      throw new Refusal(`ring ${index} can't start from ${base}, more than 16 bits`);
    }
    ring.base = this.#kind.packed ? wholeBase(base) : base;
  }

  /** SET_VRING_KICK: the ring starts. Without an event it is polled. */
  start(index: number, takeEvent: () => EventPort | undefined): void {
    const ring = this.#ring(index);
    const event = takeEvent();
    ring.kick?.close();
    ring.kick = event;
    ring.polled = event === undefined;
    ring.started = true;
    event?.watch(() => {
      if (ring.serving) this.#runner.kick(index);
    });
    this.#update(ring);
  }

  /** VRING_KICK: what the event would say; and the ring starts, if it did not. */
  kick(index: number): void {
    const ring = this.#ring(index);
    if (!ring.started) {
      ring.started = true;
      ring.polled = false;
      this.#update(ring);
    } else if (ring.serving) this.#runner.kick(index);
  }

  /** SET_VRING_CALL. */
  setCall(index: number, takeEvent: () => EventPort | undefined): void {
    const ring = this.#ring(index);
    const event = takeEvent();
    ring.call?.close();
    ring.call = event;
    ring.callTold = true;
    if (ring.live) this.#settleOwed(ring);
  }

  /** SET_VRING_ERR. */
  setErr(index: number, takeEvent: () => EventPort | undefined): void {
    const ring = this.#ring(index);
    const event = takeEvent();
    ring.err?.close();
    ring.err = event;
  }

  /** SET_VRING_ENABLE. */
  enable(index: number, enabled: boolean): void {
    const ring = this.#ring(index);
    ring.enabled = enabled;
    this.#update(ring);
  }

  /** GET_INFLIGHT_FD: a region for the front-end to keep. @returns what it is, with its descriptor, the caller's. */
  makeInflight(wanted: InflightDescription): { description: InflightDescription; fd: number } {
    return this.#inflight.make(wanted, this.#kind);
  }

  /** SET_INFLIGHT_FD. @param fd - taken over in any case. */
  setInflight(description: InflightDescription, fd: number): void {
    if (this.#rings.some((ring) => ring.live)) {
      this.#environment.os.closeFd(fd);
      throw new Refusal('a ring runs');
    }
    this.#inflight.set(description, this.#kind, fd);
  }

  /**
   * GET_VRING_BASE: the ring stops, after what is in flight was finished.
   *
   * @param drain - `false` when that is not to be waited for, and is served anew when the ring goes on. It is all the same where nobody keeps what
   *   is in flight.
   * @param stopped - called once, now or later: nothing touches the ring any more. Nothing else may be asked of this object before.
   */
  stop(index: number, drain: boolean, stopped: (base: number) => void): void {
    const ring = this.#ring(index);
    ring.started = false;
    ring.waiting = false;
    ring.kick?.close();
    ring.kick = undefined;
    if (!ring.live) {
      stopped(ring.base ?? this.#kind.freshBase);
      return;
    }
    const finish = (): void => {
      const base = this.#runner.stopQueue(index) ?? ring.base ?? this.#kind.freshBase;
      ring.stopped(base);
      this.#kept?.forget(index);
      this.#reach.forget(index);
      if (!this.#rings.some((other) => other.live)) this.#runner.pause();
      stopped(base);
    };
    this.#runner.holdQueue(index);
    if (!drain && ring.tracked) finish();
    else this.#drain.whenEmpty(index, finish);
  }

  /** RESET_OWNER: all rings are disabled, as the specification recommends. */
  disable(): void {
    for (const ring of this.#rings) {
      ring.enabled = false;
      this.#update(ring);
    }
  }

  /**
   * RESET_DEVICE, or a device status of 0: back to the initial state. Memory and the events for the front-end stay.
   *
   * @param stopped - a device status of 0, which QEMU also says when a guest stands still. When all rings were stopped before, how they start tells
   *   which it was: the reset is put off until then, or until somebody would notice. What is in flight on them stays on the front-end's record, for
   *   when they go on, here or elsewhere.
   */
  reset(stopped: boolean): void {
    const met = this.#runner.begun || this.#inherited;
    this.#resetPending = stopped && met && this.suspended && !this.needsReset;
    if (!this.#resetPending) {
      const running = this.#rings.filter(({ live }) => live);
      this.#resetDevice(stopped ? running : this.#rings);
    }
    for (const ring of this.#rings) ring.reset(!this.#resetPending);
    this.#kept?.forget();
  }

  /** Whether it was told of a reset that it puts off. */
  get resetPending(): boolean {
    return this.#resetPending;
  }

  /** The process before was told of a reset, which it put off. */
  restorePending(): void {
    this.#resetPending = true;
  }

  /** Somebody would see that the device was not reset when it was said. */
  #resetAtLast(): void {
    if (!this.#resetPending) return;
    this.#resetDevice([]);
    for (const ring of this.#rings) ring.stop = undefined;
  }

  /**
   * The device as bytes (DEVICE_STATE).
   *
   * @throws Refusal while a ring runs; or as `DeviceRunner.save`.
   */
  save(): Uint8Array {
    this.checkSuspended();
    return this.#runner.save();
  }

  /** Has the device go on from such bytes. @throws Refusal while a ring runs; or as `DeviceRunner.restore`. */
  restore(bytes: Uint8Array): void {
    this.checkSuspended();
    this.#resetAtLast();
    this.#runner.restore(bytes);
  }

  /** Whether no ring runs, which is when the guest stands still, or no driver is there. */
  get suspended(): boolean {
    return this.#running === undefined;
  }

  get #running(): Ring | undefined {
    return this.#rings.find(({ live, started }) => live || started);
  }

  /** @throws Refusal while a ring runs. */
  checkSuspended(): void {
    const ring = this.#running;
    if (ring !== undefined) throw new Refusal(`ring ${ring.index} is not stopped`);
  }

  /** @returns `undefined` when a part of the range is not there. */
  readConfig(offset: number, length: number): Uint8Array | undefined {
    if (offset + length > this.#runner.device.config.size) return undefined;
    this.#resetAtLast();
    return this.#runner.readConfig(offset, length);
  }

  writeConfig(offset: number, bytes: Uint8Array): void {
    const { size } = this.#runner.device.config;
    if (offset + bytes.length > size) {
      throw new Refusal(`${bytes.length} bytes at ${offset} are not in a configuration space of ${size}`);
    }
    this.#resetAtLast();
    this.#runner.writeConfig(offset, bytes);
  }

  /** What is to be kept because of what was done since the last time. */
  notes(): Notes[] {
    return this.#kept?.notes() ?? [];
  }

  /** What it has in its configuration space. */
  get config(): Uint8Array {
    return this.#runner.readConfig(0, this.#runner.device.config.size);
  }

  /** Goes on with the configuration space of another process. */
  restoreConfig(bytes: Uint8Array): void {
    this.#runner.device.config.restore(bytes);
  }

  /** Whether it has a queue over this ring, be it disabled. */
  isLive(index: number): boolean {
    return this.#rings[index]!.live;
  }

  /** Another process had a queue over this ring, which may have been disabled since, and died: it is stopped where it is, and not where it began. */
  goOn(index: number): void {
    const ring = this.#rings[index]!;
    if (ring.live || ring.waiting || !ring.started) return;
    this.#putQueue(ring);
    if (!ring.live) return;
    this.#runner.activate();
    this.#runner.takeLeft(index);
  }

  /** Where a ring was stopped, while it is. */
  stopOf(index: number): RingStop | undefined {
    return this.#rings[index]!.stop;
  }

  /** Another process had a queue over this ring, stopped it, and died. */
  stand(index: number, stop: RingStop): void {
    this.#rings[index]!.stop = stop;
    this.#rings[index]!.left = stop;
    this.#inherited = true;
  }

  /** Interrupts each ring's driver: the process before may have died before it did. */
  wake(): void {
    for (const ring of this.#rings) if (ring.live) this.#interrupt(ring);
  }

  /** @see Session.portray */
  portray(): Uint8Array {
    return this.#runner.portrait();
  }

  /** @see Session.yield @param done - called later, once; with an error, all goes on. */
  yield(done: (result: Uint8Array | Error) => void): void {
    const { clock, defer } = this.#environment;
    this.#yielding = new AllDrain(this.#runner, { clock, defer, wanted: false }, YIELD_TIMEOUT, () => {
      this.#yielding = undefined;
      this.#runner.suspend();
      try {
        const portrait = this.#runner.portrait();
        // What comes now is for the other one, and kicks that were taken here it does not need: it looks at each ring.
        for (const ring of this.#rings) ring.kick?.close();
        this.#polling.close();
        done(portrait);
      } catch (error) {
        this.#runner.resume();
        for (const ring of this.#rings) this.#update(ring);
        done(error as Error);
      }
    });
  }

  /** @see Session.leave */
  leave(): void {
    this.#runner.leave();
  }

  /** @throws as `Session.replace` does. */
  replace(device: VirtioDevice): void {
    this.#runner.replace(device);
  }

  /** Lets the device, its rings and its memory go. */
  close(): void {
    this.#yielding?.close();
    this.#drain.close();
    this.#polling.close();
    for (const ring of this.#rings) ring.started = false;
    this.#runner.close();
    for (const ring of this.#rings) ring.close();
    this.#kept?.close();
    this.#durable?.close();
    this.#inflight.close();
    this.logging.close();
    this.table.close();
  }

  #ring(index: number): Ring {
    const ring = this.#rings[index];
    if (ring === undefined)
      throw new Refusal(`there is no ring ${index}, the last one is ${this.#rings.length - 1}`);
    return ring;
  }

  /** Serves a ring, or does not, as its state is now. */
  #update(ring: Ring): void {
    if (!ring.started || !ring.enabled) {
      ring.waiting = false;
      if (ring.live) this.#runner.holdQueue(ring.index);
      return;
    }
    if (ring.live) this.#runner.resumeQueue(ring.index);
    else if (ring.awaiting === undefined && !this.#await(ring)) this.#putQueue(ring);
    else return;
    if (ring.waiting) return;
    this.#runner.activate();
    this.#events.serving();
    // Buffers that were there before bring no kick.
    this.#runner.kick(ring.index);
    if (ring.polled) this.#polling.start();
  }

  /** A ring that can't be is the driver's mistake, not the front-end's: it is broken until the driver's reset, and nothing else is. */
  #putQueue(ring: Ring): void {
    try {
      if (this.#featuresRefused) throw new Refusal('the driver accepted features that were not offered');
      ring.checkConfigured(this.table);
    } catch (error) {
      this.#tellBroken(ring);
      throw error;
    }
    const { places, memory } = this.#reach;
    if (this.#resetPending) this.#tellReset();
    const met = this.#runner.begun || this.#inherited;
    const suspended = met && !this.#rings.some((other) => other.live);
    // With RING_RESET a ring alone may begin anew, where a reset of the device is told otherwise.
    const guessed = !this.toldOfResets || (this.#features & VIRTIO_F_RING_RESET) === 0n;
    const isFresh = (other: Ring): boolean => other.started && other.isFresh(places, this.#kind);
    if (suspended && guessed && this.#rings.some(isFresh)) {
      this.#resetDevice(this.#rings);
    }
    // One that begins anew has nothing in flight.
    if (ring.beginsAnew(places, this.#kind)) this.#inflight.forget(ring.index);
    try {
      const place = ring.place(places, this.#kind);
      const deviceView = (view: MemoryView) => this.logging.deviceView(view, ring.addresses!);
      const given = this.#inflight.placeOf(ring.index, place.size, this.#kind);
      const inflight =
        given ?? this.#kept?.placeOf(ring.index, this.#kind.inflightSize(place.size), place.size);
      const options = { ...this.#kind.optionsOf(memory, place, ring.base), deviceView, inflight };
      const queue = this.#kind.deviceQueue(options);
      this.#runner.startQueue(ring.index, queue, options);
      ring.ran(place);
      ring.tracked = given !== undefined;
      ring.owed = queue.resumed === true;
      this.#settleOwed(ring);
    } catch (error) {
      if (isSuspension(error)) {
        ring.waiting = true;
        this.#events.serving();
        return;
      }
      if (!isBroken(error)) throw error;
      ring.ran(undefined);
      this.#runner.breakQueue(ring.index, error);
    }
  }

  /** The rings start: they go on, or are another driver's, or the same driver's after a reset. */
  #tellReset(): void {
    const { places } = this.#reach;
    const started = this.#rings.filter((ring) => ring.started);
    const goOn = started.some((ring) => ring.surelyGoesOn(places, this.#kind));
    if (goOn && !started.some((ring) => ring.isFresh(places, this.#kind))) this.#resetPending = false;
    else this.#resetAtLast();
  }

  /** @returns whether the ring has to wait for what the device still does for it. It is served then. */
  #await(ring: Ring): boolean {
    if (!this.#inflight.has(ring.index)) return false;
    return this.#drain.whenHome(ring, () => {
      try {
        this.#update(ring);
      } catch (error) {
        this.#events.warn(`ring ${ring.index} is not served: ${(error as Error).message}`);
      }
    });
  }

  /** Interrupts the driver once: at worst there is nothing for it. */
  #settleOwed(ring: Ring): void {
    if (ring.owed && this.#interrupt(ring)) ring.owed = false;
  }

  /** @returns whether there is a way to tell the front-end. */
  #interrupt(ring: Ring): boolean {
    ring.call?.signal();
    return ring.call !== undefined || (!ring.callTold && this.#events.called(ring.index));
  }

  /** The driver's requests on these rings are nobody's any more. */
  #forget(rings: readonly Ring[]): void {
    this.#inherited = false;
    this.#resetPending = false;
    this.#runner.reset();
    for (const { index } of rings) this.#inflight.forget(index);
    this.#events.wasReset();
  }

  #tellBroken(ring: Ring): void {
    if (ring.err !== undefined) ring.err.signal();
    else this.#events.broke(ring.index);
  }

  #resetDevice(rings: readonly Ring[]): void {
    this.#forget(rings);
    this.#runner.accept(this.#features);
    this.#reach.reset();
  }
}

/** Whether a ring can't be, which is its driver's affair. */
function isBroken(error: unknown): error is Error {
  return error instanceof Refusal || error instanceof VirtqueueError || error instanceof MemoryError;
}

/**
 * The places of a packed ring that a front-end names. Some name the next available one only, and leave the 16 bits above zero: a used one
 * that could not be at the same time, or only with a whole ring in flight, which nobody could ever go on from.
 */
function wholeBase(base: number): number {
  return base > 0x7fff && base <= 0xffff ? (base | (base << 16)) >>> 0 : base;
}
