import type { DistantMemory } from '../../../memory/distant-memory.js';
import type { GuestMemory } from '../../../memory/guest-memory.js';
import { isSuspension, MemoryError } from '../../../memory/memory-error.js';
import type { VirtioDevice } from '../../../virtio/device.js';
import { DeviceRunner } from '../../../virtio/device-runner.js';
import { Drain } from '../../../virtio/drain.js';
import { FeatureError } from '../../../virtio/feature-error.js';
import {
  VIRTIO_F_NOTIF_CONFIG_DATA,
  VIRTIO_F_RING_RESET,
  VIRTIO_F_SUSPEND,
  VIRTIO_F_VERSION_1,
} from '../../../virtio/features.js';
import type { LocalSharedMemory } from '../../../virtio/local-shared-memory.js';
import { RingKind } from '../../../virtio/ring-kind.js';
import { StateError } from '../../../virtio/saved-state.js';
import type { StateFields } from '../../../virtio/state-fields.js';
import type { CarriedQueue } from '../../../virtqueue/carried/carried-queue.js';
import type { DeviceQueueOptions } from '../../../virtqueue/device-queue-options.js';
import { VirtqueueError } from '../../../virtqueue/virtqueue-error.js';
import { PCI_FEATURES } from '../../transport-features.js';
import * as virtio from '../virtio-pci.js';
import { CommonConfig } from './common-config.js';
import type { Interrupts } from './interrupts.js';
import { type Layout, NOTIFY_STRIDE, type Part } from './layout.js';
import type { FunctionEnvironment, PciHost } from './pci-host.js';

const STATUS_BITS =
  virtio.VIRTIO_CONFIG_S_ACKNOWLEDGE |
  virtio.VIRTIO_CONFIG_S_DRIVER |
  virtio.VIRTIO_CONFIG_S_DRIVER_OK |
  virtio.VIRTIO_CONFIG_S_FEATURES_OK |
  virtio.VIRTIO_CONFIG_S_FAILED;

/** How long `halt` waits for the requests in flight, in ns. */
const DRAIN_TIMEOUT = 5e9;

/** How long they are waited for when another process goes on, in ns: those that take longer it carries out anew. */
const YIELD_TIMEOUT = 0.3e9;

/** What the registers work on. */
export interface RegistersPorts {
  readonly memory: GuestMemory;
  readonly environment: FunctionEnvironment;
  readonly host: PciHost;
  readonly interrupts: Interrupts;
  readonly layout: Layout;
  /** MSI-X vectors there are. */
  readonly vectors: number;
  readonly shared: LocalSharedMemory;
}

/** The virtio structures behind a BAR (VIRTIO 1.3 §4.1.4), and the device that they control. */
export class VirtioRegisters {
  readonly #ports: RegistersPorts;
  readonly #runner: DeviceRunner;
  readonly #common: CommonConfig;
  readonly #kicks: readonly (() => void)[];
  /** Queues that are carried to and from distant memory, by index. */
  readonly #carried = new Map<number, CarriedQueue>();
  /** Queues whose kick the host has still to perform. */
  readonly #kicked = new Set<number>();
  #status = 0;
  #kind = new RingKind(0n);
  /** Whether the function is a bus master, and whether the driver wants it to be. */
  #master = false;
  #masterWanted = false;
  /** Queues that were enabled while it was none. */
  readonly #unplaced = new Set<number>();
  #generation = 0;
  /** The configuration space's own generation when the driver last read any of it. */
  #configSeen: number;
  #resetting = false;
  /** The host has it stand still, whatever the driver wants. */
  #halted = false;
  #drain: Drain | undefined;
  #yielding: Drain | undefined;
  /** The driver has it stand still (SUSPEND), or wants it to. */
  #suspended = false;
  #suspending = false;
  #suspendDrain: Drain | undefined;
  /** What the driver sees of the device's configuration meanwhile. */
  #configImage: Uint8Array | undefined;
  /** Where rings go on that another function had. */
  readonly #bases = new Map<number, number>();
  /** Queues that were broken there: they are until they are reset. */
  readonly #lost = new Set<number>();
  #changes = 0;
  /** The driver was interrupted for all changes of the configuration. */
  #configTold = true;

  constructor(device: VirtioDevice, ports: RegistersPorts) {
    const { environment, host, interrupts, vectors } = ports;
    this.#ports = ports;
    this.#configSeen = device.config.generation;
    this.#runner = new DeviceRunner(device, {
      sharedMemory: ports.shared.regions,
      clock: environment.clock,
      interrupt: (queue) => interrupts.queue(this.#common.queueVector(queue)),
      configInterrupt: () => this.#tellConfig(),
      broken: () => {
        this.#changes += 1;
        this.#needsReset();
      },
      defer: (callback) => environment.defer(callback),
      print: environment.print,
      warn: (line, about) => environment.warn(line, about),
      monitor: environment.monitor,
      poll: environment.poll,
      durable: environment.durable,
      activated: () => environment.activated?.(),
      begun: environment.begun,
      ringFeatures: (environment.ringFeatures ?? PCI_FEATURES.unlessTold) & PCI_FEATURES.all,
    });
    this.#runner.suspend();
    this.#kicks = device.queues.map((_, index) => () => {
      this.#kicked.delete(index);
      this.#kick(index);
    });
    this.#common = new CommonConfig(device.queues, {
      offered: () => this.#runner.offered,
      packed: () => this.#kind.packed,
      vectors,
      // A driver polls for 0 after a reset (§4.1.4.3.2), so an idle device must not show it before it is done either.
      readStatus: () => (this.#resetting ? this.#status || virtio.VIRTIO_CONFIG_S_ACKNOWLEDGE : this.#status),
      writeStatus: (value) => this.#writeStatus(value),
      generation: () => this.#generation,
      featuresOpen: () => (this.#status & virtio.VIRTIO_CONFIG_S_FEATURES_OK) === 0,
      ringReset: () => this.#accepted(VIRTIO_F_RING_RESET),
      notifConfigData: () => this.#accepted(VIRTIO_F_NOTIF_CONFIG_DATA),
      enableQueue: (index) => host.perform(() => this.#startQueue(index)),
      resetQueue: (index) => host.perform(() => this.#resetQueue(index)),
    });
  }

  read(offset: number, length: number): Uint8Array {
    const { common, isr, device } = this.#ports.layout;
    const out = new Uint8Array(length);
    const put = (part: Part, read: (from: number, count: number) => Uint8Array): void => {
      const from = Math.max(offset, part.offset);
      const to = Math.min(offset + length, part.offset + part.length);
      if (from < to) out.set(read(from - part.offset, to - from), from - offset);
    };
    put(common, (from, count) => this.#common.read(from, count));
    put(isr, () => Uint8Array.of(this.#ports.interrupts.readIsr()));
    if (device !== undefined) put(device, (from, count) => this.#readDeviceConfig(from, count));
    return out;
  }

  write(offset: number, bytes: Uint8Array): void {
    const { common, notify, device } = this.#ports.layout;
    const end = offset + bytes.length;
    const take = (part: Part, write: (from: number, piece: Uint8Array) => void): boolean => {
      const from = Math.max(offset, part.offset);
      const to = Math.min(end, part.offset + part.length);
      if (from < to) write(from - part.offset, bytes.subarray(from - offset, to - offset));
      return from < to;
    };
    take(notify, (from, piece) => this.#notify(from, piece.length));
    if (take(common, (from, piece) => this.#common.write(from, piece))) this.#changes += 1;
    if (device !== undefined && take(device, (from, piece) => this.#writeDeviceConfig(from, piece)))
      this.#changes += 1;
  }

  /** Differs whenever `keep` may. */
  get changes(): number {
    return this.#changes + this.#runner.device.config.generation;
  }

  /** The registers as a function in the next process has to have them, whose device starts afresh. */
  keep(): Record<string, unknown> {
    const { config } = this.#runner.device;
    return {
      ...this.#registers(this.#halted),
      halted: this.#halted,
      suspending: this.#suspending,
      config: config.read(0, config.size),
      configTold: this.#configTold,
    };
  }

  /**
   * Goes on from what `keep` returned in a process before: the driver is interrupted once, because that one may have died before it did.
   *
   * @throws StateError when it can't.
   */
  resume(state: StateFields): void {
    const status = this.#takeRegisters(state);
    const { config } = this.#runner.device;
    config.restore(state.bytes('config', config.size));
    this.#halted = state.boolean('halted');
    this.#takeStatus(status);
    if (state.boolean('suspending')) {
      this.#suspending = true;
      this.#ports.host.perform(() => this.#suspend());
    }
    if (!state.boolean('configTold')) this.#tellConfig();
    if ((status & virtio.VIRTIO_CONFIG_S_DRIVER_OK) === 0) return;
    for (const [index, queue] of this.#common.queues.entries())
      if (queue.enabled) this.#ports.interrupts.queue(this.#common.queueVector(index));
  }

  #tellConfig(): void {
    this.#configTold = false;
    this.#changes += 1;
    this.#ports.host.changed?.();
    this.#ports.interrupts.config(this.#common.configVector);
    this.#configTold = true;
    this.#changes += 1;
  }

  /**
   * A function that is no bus master touches no memory and interrupts nobody, from before the write that says so is answered: the device
   * stands still, and goes on where it was once it may again.
   */
  setMaster(wanted: boolean): void {
    this.#masterWanted = wanted;
    if (wanted) this.#ports.host.perform(() => this.#takeBus());
    else if (this.#master) this.#leaveBus();
  }

  #leaveBus(): void {
    this.#master = false;
    this.#ports.interrupts.silent = true;
    this.#ports.host.mastering?.(false);
    this.#runner.suspend();
  }

  #takeBus(): void {
    // Meanwhile it may have changed its mind.
    if (this.#master || !this.#masterWanted || this.#halted || this.#suspended) return;
    this.#master = true;
    this.#ports.host.mastering?.(true);
    this.#ports.interrupts.silent = false;
    this.#runner.resume();
    if (this.#master && (this.#status & virtio.VIRTIO_CONFIG_S_DRIVER_OK) !== 0) this.#run();
  }

  /** From now on nothing of the old driver's counts, though the device may still be in the middle of something. */
  beginReset(): void {
    this.#resetting = true;
  }

  finishReset(): void {
    this.#changes += 1;
    this.#runner.reset();
    this.#ports.host.forget?.();
    this.#ports.shared.reset();
    this.#carried.clear();
    this.#common.reset();
    this.#ports.interrupts.reset();
    this.#unplaced.clear();
    this.#bases.clear();
    this.#lost.clear();
    this.#status = 0;
    this.#kind = new RingKind(0n);
    this.#resetting = false;
    this.#suspending = false;
    this.#suspendDrain?.close();
    this.#suspendDrain = undefined;
    this.#configImage = undefined;
    if (!this.#suspended) return;
    this.#suspended = false;
    this.#takeBus();
  }

  /**
   * VIRTIO 1.4 §3.4: the device takes nothing more, hands back what it has, and stands still from then on. What it does not hand back in time it
   * keeps: that goes on with the device.
   */
  #suspend(): void {
    if (!this.#suspending || this.#resetting) return;
    if (!this.#master || this.#drain !== undefined) {
      this.#standStill();
      return;
    }
    this.#suspendDrain = new Drain(this.#runner, this.#drainPorts, DRAIN_TIMEOUT, () => {
      this.#suspendDrain = undefined;
      this.#standStill();
    });
  }

  #standStill(): void {
    if (!this.#suspending) return;
    this.#changes += 1;
    this.#suspending = false;
    this.#suspended = true;
    if (this.#master) this.#leaveBus();
    const { size } = this.#runner.device.config;
    this.#configImage = this.#runner.readConfig(0, size).slice();
    this.#status = (this.#status & ~virtio.VIRTIO_CONFIG_S_DRIVER_OK) | virtio.VIRTIO_CONFIG_S_SUSPEND;
  }

  #goOn(): void {
    if (!this.#suspended || this.#resetting) return;
    this.#changes += 1;
    this.#suspended = false;
    this.#configImage = undefined;
    this.#status = (this.#status & ~virtio.VIRTIO_CONFIG_S_SUSPEND) | virtio.VIRTIO_CONFIG_S_DRIVER_OK;
    this.#release();
    this.#takeBus();
  }

  /**
   * Has the device hand back what it holds, and stand still from then on: no memory is touched, and nobody is interrupted.
   *
   * @param done - called once, from the event loop: with what went wrong, if anything did; then all goes on as before.
   */
  halt(done: (problem?: string) => void): void {
    if (!this.#master) {
      const owing = this.#kicks.findIndex((_, index) => this.#runner.isOwing(index));
      if (owing < 0) this.#halted = true;
      this.#changes += 1;
      const problem = owing < 0 ? undefined : `${this.#queueName(owing)}, and it may not master the bus`;
      this.#ports.environment.defer(() => done(problem));
      return;
    }
    this.#drain = new Drain(this.#runner, this.#drainPorts, DRAIN_TIMEOUT, ([late]) => {
      this.#drain = undefined;
      this.#changes += 1;
      if (late === undefined) {
        this.#halted = true;
        if (this.#master) this.#leaveBus();
        done();
        return;
      }
      this.#release();
      done(`${this.#queueName(late)} after ${DRAIN_TIMEOUT / 1e9} s`);
    });
  }

  get #drainPorts(): ConstructorParameters<typeof Drain>[1] {
    const { clock, defer } = this.#ports.environment;
    const returned = (queue: number, then: () => void): void => {
      const carried = this.#carried.get(queue);
      if (carried === undefined) then();
      else carried.whenReturned(then);
    };
    return { clock, defer, returned };
  }

  #queueName(index: number): string {
    return `queue ${index} (${this.#runner.device.queues[index]!.name}) has requests in flight`;
  }

  /** @see Session.portray */
  portray(): Uint8Array {
    return this.#runner.portrait();
  }

  /** @see Session.yield @param done - called later, once; with an error, all goes on. */
  yield(done: (result: Uint8Array | Error) => void): void {
    this.#yielding = new Drain(this.#runner, { ...this.#drainPorts, wanted: false }, YIELD_TIMEOUT, () => {
      this.#yielding = undefined;
      this.#runner.suspend();
      try {
        done(this.#runner.portrait());
      } catch (error) {
        if (this.#master) this.#runner.resume();
        this.#release();
        if (this.#master && (this.#status & virtio.VIRTIO_CONFIG_S_DRIVER_OK) !== 0) this.#run();
        done(error as Error);
      }
    });
  }

  /** @see Session.leave */
  leave(): void {
    this.#runner.leave();
  }

  /** Whether the driver is ready. */
  get active(): boolean {
    return this.#runner.active;
  }

  /** The device alone. @throws as `DeviceRunner.save`. */
  saveDevice(): Uint8Array {
    return this.#runner.save();
  }

  /** Takes `halt` back. */
  proceed(): void {
    if (!this.#halted) return;
    this.#changes += 1;
    this.#halted = false;
    this.#release();
    if (this.#masterWanted) this.#ports.host.perform(() => this.#takeBus());
  }

  #release(): void {
    for (const index of this.#kicks.keys()) {
      this.#runner.resumeQueue(index);
      if (this.#master) this.#kick(index);
    }
  }

  /**
   * What a function elsewhere needs to go on, of one that is halted.
   *
   * @throws as `DeviceRunner.save`.
   */
  save(): Record<string, unknown> {
    return { ...this.#registers(true), device: this.#runner.save() };
  }

  /** @param still - nothing is in flight: then it is known where each ring goes on. */
  #registers(still: boolean): Record<string, unknown> {
    const rings = this.#common.queues.map((_, index) => {
      const base = (still ? this.#runner.baseOf(index) : undefined) ?? this.#bases.get(index);
      return { base, broken: this.#lost.has(index) || this.#runner.isBroken(index) };
    });
    return { status: this.#status, generation: this.#generation, common: this.#common.save(), rings };
  }

  /**
   * Goes on from what `save` returned elsewhere, after a reset and while halted.
   *
   * @throws StateError when it can't; or what the device throws. Then it has to be reset.
   */
  restore(state: StateFields): void {
    const status = this.#takeRegisters(state);
    const device: unknown = state.any('device');
    if (!(device instanceof Uint8Array)) throw new StateError("the device's own state is not there");
    this.#runner.restore(device);
    this.#changes += 1;
    this.#takeStatus(status);
  }

  /** All but the status, which is returned. */
  #takeRegisters(state: StateFields): number {
    const status = state.number('status', 0xff);
    const more = virtio.VIRTIO_CONFIG_S_NEEDS_RESET | virtio.VIRTIO_CONFIG_S_SUSPEND;
    if ((status & ~(STATUS_BITS | more)) !== 0) {
      throw new StateError(`the device status can't be 0x${status.toString(16)}`);
    }
    this.#generation = state.number('generation', 0xff);
    this.#configSeen = Number.NaN;
    this.#common.restore(state.part('common'));
    if ((status & virtio.VIRTIO_CONFIG_S_FEATURES_OK) !== 0 && !this.#acceptFeatures()) {
      const features = this.#common.driverFeatures.toString(16);
      throw new StateError(`the driver accepted features that are not offered here: 0x${features}`);
    }
    for (const [index, ring] of state.list('rings', this.#common.queues.length).entries()) {
      if (ring.any('base') !== undefined) this.#bases.set(index, ring.number('base', 0xffff_ffff));
      if (ring.boolean('broken')) this.#lost.add(index);
    }
    return status;
  }

  #takeStatus(status: number): void {
    this.#status = status;
    this.#suspending = (status & virtio.VIRTIO_CONFIG_S_SUSPEND) !== 0;
    this.#standStill();
  }

  /** Puts another device in this one's place; see `DeviceRunner.replace`. */
  replace(device: VirtioDevice): void {
    this.#runner.replace(device);
    this.#changes += 1;
    // Its generations say nothing about the old one's.
    this.#configSeen = Number.NaN;
  }

  /** Resets the device and lets it go. */
  close(): void {
    this.#yielding?.close();
    this.#drain?.close();
    this.#suspendDrain?.close();
    this.#runner.close();
    this.#carried.clear();
  }

  #kick(index: number): void {
    this.#carried.get(index)?.kick();
    this.#runner.kick(index);
  }

  /** The address says which queue; what is written there says nothing more (§4.1.4.4). */
  #notify(offset: number, length: number): void {
    for (
      let index = Math.ceil(offset / NOTIFY_STRIDE);
      index * NOTIFY_STRIDE < offset + length && index < this.#kicks.length;
      index++
    ) {
      this.notified(index);
    }
  }

  /** The driver kicked this queue. */
  notified(index: number): void {
    // A device that comes late looks once, however often it was kicked.
    if (this.#kicked.has(index)) return;
    this.#kicked.add(index);
    const kick = this.#kicks[index]!;
    const { host } = this.#ports;
    if (host.performKick === undefined) host.perform(kick);
    else host.performKick(kick);
  }

  #readDeviceConfig(offset: number, length: number): Uint8Array {
    if (this.#configImage !== undefined) return this.#configImage.subarray(offset, offset + length);
    const { generation } = this.#runner.device.config;
    // Counted only when a change is seen, so that 8 bits never come round between two reads of one driver (§4.1.4.3.1).
    if (generation !== this.#configSeen) {
      this.#configSeen = generation;
      this.#changes += 1;
      this.#generation = (this.#generation + 1) & 0xff;
    }
    return this.#runner.readConfig(offset, length);
  }

  #writeDeviceConfig(offset: number, bytes: Uint8Array): void {
    // One that stands still has no ears (VIRTIO 1.4 §3.4.2).
    if (this.#suspended) return;
    // At once, so that a driver reads back what it wrote, whenever the device hears of it.
    if (!this.#runner.device.config.write(offset, bytes)) return;
    const { length } = bytes;
    this.#ports.host.perform(() => this.#runner.configWritten(offset, length));
  }

  #writeStatus(value: number): void {
    this.#ports.environment.monitor?.status?.(value);
    if (value === 0) {
      this.beginReset();
      this.#ports.host.perform(() => this.finishReset());
      return;
    }
    if (this.#suspended) {
      if ((value & virtio.VIRTIO_CONFIG_S_DRIVER_OK) !== 0) this.#ports.host.perform(() => this.#goOn());
      this.#status |= value & virtio.VIRTIO_CONFIG_S_FAILED;
      return;
    }
    const runs = (this.#status & virtio.VIRTIO_CONFIG_S_DRIVER_OK) !== 0;
    if ((value & virtio.VIRTIO_CONFIG_S_SUSPEND) !== 0 && runs && this.#accepted(VIRTIO_F_SUSPEND)) {
      const asked = this.#suspending;
      this.#suspending = true;
      if (!asked) this.#ports.host.perform(() => this.#suspend());
    }
    // Bits are only ever added; clearing takes a reset (§2.1.1).
    const added = value & STATUS_BITS & ~this.#status;
    this.#status |= added & ~(virtio.VIRTIO_CONFIG_S_FEATURES_OK | virtio.VIRTIO_CONFIG_S_DRIVER_OK);
    if ((added & virtio.VIRTIO_CONFIG_S_FEATURES_OK) !== 0 && this.#acceptFeatures()) {
      this.#status |= virtio.VIRTIO_CONFIG_S_FEATURES_OK;
    }
    if ((added & virtio.VIRTIO_CONFIG_S_DRIVER_OK) === 0) return;
    if ((this.#status & virtio.VIRTIO_CONFIG_S_FEATURES_OK) === 0) {
      this.#warn('the driver set DRIVER_OK without FEATURES_OK (VIRTIO §3.1.1)');
      this.#needsReset();
      return;
    }
    this.#status |= virtio.VIRTIO_CONFIG_S_DRIVER_OK;
    this.#ports.host.perform(() => {
      if (this.#master) this.#run();
    });
  }

  /** Whether the device can work with what the driver accepts (§3.1.1 step 5); says why when it can't. */
  #acceptFeatures(): boolean {
    const features = this.#common.driverFeatures;
    if ((features & VIRTIO_F_VERSION_1) === 0n) {
      this.#warn('FEATURES_OK refused: the driver did not accept VERSION_1 (VIRTIO §6.1)');
      return false;
    }
    try {
      if ((features & ~this.#runner.offered) !== 0n) throw new FeatureError(features, this.#runner.offered);
      this.#runner.accept(features);
    } catch (error) {
      if (!(error instanceof FeatureError)) throw error;
      this.#warn(`FEATURES_OK refused: ${error.message}`);
      return false;
    }
    this.#kind = new RingKind(features);
    return true;
  }

  #accepted(feature: bigint): boolean {
    return (this.#runner.features & feature) !== 0n;
  }

  /** DRIVER_OK, or bus mastering came back. */
  #run(): void {
    if (this.#resetting) return;
    if (!this.#runner.active) {
      for (const [index, queue] of this.#common.queues.entries()) if (queue.enabled) this.#placeRing(index);
    }
    const unplaced = [...this.#unplaced];
    this.#unplaced.clear();
    for (const index of unplaced) if (this.#common.queues[index]!.enabled) this.#placeRing(index);
    // Reaching the memory may be what let the driver take the bus away again.
    if (!this.#master) return;
    this.#runner.activate();
    for (const index of this.#kicks.keys()) this.#kick(index);
  }

  /** A queue was enabled: at once if the device runs (after a queue reset), with DRIVER_OK otherwise. */
  #startQueue(index: number): void {
    if (!this.#runner.active || !this.#common.queues[index]!.enabled) return;
    if (!this.#master) {
      this.#unplaced.add(index);
      return;
    }
    this.#placeRing(index);
    this.#kick(index);
  }

  #placeRing(index: number): void {
    if (this.#lost.has(index)) return;
    const queue = this.#common.queues[index]!;
    const kind = this.#kind;
    try {
      if (!queue.isSizeValid(kind.packed)) {
        const text = `queue size ${queue.size} is ${kind.packed ? 'not' : 'no power of two'} in 1..${queue.max}`;
        throw new VirtqueueError('QUEUE_SIZE', '4.1.4.3.2', text);
      }
      const ring = {
        ...kind.optionsOf(this.#ports.memory, queue, this.#bases.get(index)),
        inflight: this.#ports.host.inflight?.(index, kind.inflightSize(queue.size), queue.size),
      };
      const distant = this.#ports.host.distant?.();
      this.#runner.startQueue(
        index,
        distant === undefined ? kind.deviceQueue(ring) : this.#carry(index, ring, distant),
        ring,
      );
    } catch (error) {
      if (isSuspension(error)) {
        this.#unplaced.add(index);
        return;
      }
      if (!(error instanceof VirtqueueError || error instanceof MemoryError)) throw error;
      const { name } = this.#runner.device.queues[index]!;
      this.#warn(`queue ${index} (${name}) can't be used: ${error.message}`);
      this.#needsReset();
    }
  }

  #carry(index: number, ring: DeviceQueueOptions, distant: DistantMemory): CarriedQueue {
    const queue = this.#kind.carriedQueue(ring, distant, {
      arrived: () => this.#runner.kick(index),
      interrupt: () => this.#interrupt(index),
      broken: (error) => this.#runner.breakQueue(index, error),
    });
    this.#carried.set(index, queue);
    return queue;
  }

  #interrupt(index: number): void {
    this.#ports.interrupts.queue(this.#common.queueVector(index));
    this.#ports.environment.monitor?.interrupted?.(index);
  }

  /** VIRTIO 1.3 §2.6.1. */
  #resetQueue(index: number): void {
    const queue = this.#common.queues[index]!;
    if (!queue.resetting) return;
    this.#changes += 1;
    this.#unplaced.delete(index);
    this.#runner.stopQueue(index);
    this.#ports.host.forget?.(index);
    this.#carried.delete(index);
    this.#bases.delete(index);
    this.#lost.delete(index);
    queue.reset();
  }

  /** VIRTIO 1.3 §2.1.2: the device can't go on before the driver resets it. */
  #needsReset(): void {
    if ((this.#status & virtio.VIRTIO_CONFIG_S_NEEDS_RESET) !== 0) return;
    this.#status |= virtio.VIRTIO_CONFIG_S_NEEDS_RESET;
    this.#changes += 1;
    if ((this.#status & virtio.VIRTIO_CONFIG_S_DRIVER_OK) !== 0) {
      this.#ports.interrupts.config(this.#common.configVector);
    }
  }

  #warn(text: string): void {
    this.#ports.environment.warn(`${this.#runner.device.name}: ${text}`);
  }
}
