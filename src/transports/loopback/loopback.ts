import type { GuestAddress } from '../../memory/address.js';
import { GuestMemory } from '../../memory/guest-memory.js';
import { MappedView } from '../../memory/mapped-view.js';
import type { VirtioDevice } from '../../virtio/device.js';
import { DeviceRunner } from '../../virtio/device-runner.js';
import { type DriverTransport, type RingPlace, TransportError } from '../../virtio/driver-transport.js';
import { VIRTIO_F_VERSION_1 } from '../../virtio/features.js';
import { LocalSharedMemory } from '../../virtio/local-shared-memory.js';
import { RingKind } from '../../virtio/ring-kind.js';
import type { DriverSharedMemory } from '../../virtio/shared-memory.js';
import { MappedSharedMemory } from '../mapped-shared-memory.js';
import type { Environment } from '../session.js';
import { LOOPBACK_FEATURES } from '../transport-features.js';
import { Bell } from './bell.js';

/** What loopback needs of the process: no operating system, unless the device maps files into shared memory. */
export type LoopbackEnvironment = Omit<Environment, 'os'> & Partial<Pick<Environment, 'os'>>;

/** A driver and its device in one process, with no socket: the memory is an ArrayBuffer, a kick is a call a little later. */
export class Loopback implements DriverTransport {
  readonly name = 'loopback';
  readonly deviceId: number;
  readonly memory: GuestMemory = new GuestMemory();
  readonly #runner: DeviceRunner;
  readonly #bell: Bell;
  readonly #shared: LocalSharedMemory;
  readonly #interrupts: (() => void)[] = [];
  #configChanged: () => void = () => {};
  #failed: ((error: TransportError) => void) | undefined;
  #failure: TransportError | undefined;
  readonly #tellConfig = (): void => this.#configChanged();

  /** @param memorySize - bytes of guest memory, for rings and buffers. */
  constructor(device: VirtioDevice, environment: LoopbackEnvironment, memorySize: number = 16 << 20) {
    this.deviceId = device.id;
    this.#bell = new Bell(environment.defer);
    this.memory.add({ start: 0 as GuestAddress, view: new MappedView(new ArrayBuffer(memorySize)) });
    this.#shared = new LocalSharedMemory(device.sharedMemory ?? [], environment.os);
    this.#runner = new DeviceRunner(device, {
      sharedMemory: this.#shared.regions,
      clock: environment.clock,
      interrupt: (queue) => this.#bell.ring(this.#interrupts[queue] ?? nobody),
      configInterrupt: () => this.#bell.ring(this.#tellConfig),
      broken: () => this.#fail(new TransportError('NEEDS_RESET', `${device.name} needs a reset`)),
      defer: environment.defer,
      print: environment.print,
      warn: environment.warn,
      monitor: environment.monitor,
      ringFeatures: (environment.ringFeatures ?? LOOPBACK_FEATURES.unlessTold) & LOOPBACK_FEATURES.all,
    });
  }

  async reset(): Promise<void> {
    this.#bell.silence();
    this.#failure = undefined;
    this.#interrupts.length = 0;
    this.#runner.reset();
    this.#shared.reset();
  }

  async offeredFeatures(): Promise<bigint> {
    return this.#runner.offered;
  }

  async acceptFeatures(features: bigint): Promise<void> {
    if ((features & VIRTIO_F_VERSION_1) === 0n) {
      throw new TransportError('REFUSED', 'the device needs VIRTIO_F_VERSION_1 (VIRTIO §6.2)');
    }
    try {
      this.#runner.accept(features);
    } catch (error) {
      throw new TransportError('REFUSED', (error as Error).message);
    }
  }

  async maxQueueSize(index: number): Promise<number> {
    return this.#runner.device.queues[index]?.size ?? 0;
  }

  async startQueue(index: number, ring: RingPlace, base: number, interrupt: () => void): Promise<() => void> {
    if (ring.size > (await this.maxQueueSize(index))) {
      throw new RangeError(`queue ${index} has no room for ${ring.size} descriptors`);
    }
    const kind = new RingKind(this.#runner.features);
    const options = kind.optionsOf(this.memory, ring, base);
    const queue = kind.deviceQueue(options);
    this.#interrupts[index] = interrupt;
    this.#runner.startQueue(index, queue, options);
    const kick = (): void => this.#runner.kick(index);
    return () => this.#bell.ring(kick);
  }

  async resetQueue(index: number): Promise<void> {
    this.#runner.stopQueue(index);
    this.#interrupts[index] = nobody;
  }

  async start(): Promise<void> {
    this.#runner.activate();
    for (let index = 0; index < this.#runner.queueCount; index++) this.#runner.kick(index);
  }

  /** There is no status that says so. */
  async giveUp(): Promise<void> {}

  async configGeneration(): Promise<number> {
    return this.#runner.device.config.generation;
  }

  async readConfig(offset: number, length: number): Promise<Uint8Array> {
    return this.#runner.readConfig(offset, length);
  }

  async writeConfig(offset: number, bytes: Uint8Array): Promise<void> {
    this.#runner.writeConfig(offset, bytes);
  }

  async sharedMemory(): Promise<ReadonlyMap<number, DriverSharedMemory>> {
    const { regions } = this.#shared;
    return new Map([...regions].map(([id, { window }]) => [id, new MappedSharedMemory(window)]));
  }

  onConfigChange(changed: () => void): void {
    this.#configChanged = changed;
  }

  onFailure(failed: (error: TransportError) => void): void {
    this.#failed = failed;
    if (this.#failure !== undefined) failed(this.#failure);
  }

  /** Puts another device in this one's place; see `DeviceRunner.replace`. */
  replace(device: VirtioDevice): void {
    this.#runner.replace(device);
  }

  close(): void {
    this.#bell.silence();
    this.#failed = undefined;
    this.#runner.close();
    this.#shared.close();
  }

  #fail(error: TransportError): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#failed?.(error);
  }
}

function nobody(): void {}
