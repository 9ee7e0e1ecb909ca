import type { GuestMemory } from '../../../memory/guest-memory.js';
import type { MemoryView } from '../../../memory/memory-view.js';
import { SharedWindow } from '../../../memory/shared-window.js';
import { type DriverTransport, type RingPlace, TransportError } from '../../../virtio/driver-transport.js';
import {
  VIRTIO_F_NOTIF_CONFIG_DATA,
  VIRTIO_F_NOTIFICATION_DATA,
  VIRTIO_F_RING_RESET,
} from '../../../virtio/features.js';
import { RingKind } from '../../../virtio/ring-kind.js';
import type { DriverSharedMemory } from '../../../virtio/shared-memory.js';
import { MappedSharedMemory } from '../../mapped-shared-memory.js';
import type { Mapping } from '../../ports.js';
import { NOTIFICATION } from '../notification.js';
import * as pci from '../pci-registers.js';
import * as virtio from '../virtio-pci.js';
import { BarSharedMemory } from './bar-shared-memory.js';
import { CommonRegisters } from './common-registers.js';
import type { PciPlatform } from './pci-platform.js';
import { type ProbedFunction, probeFunction, type Structure } from './probe.js';

/** What a driver chooses about a function. */
export interface PciDriverOptions {
  /** The most MSI-X vectors to use; 0 for INTx. All that are of use unless told. */
  readonly vectors?: number;
  /** Whether notifications may have data (VIRTIO_F_NOTIFICATION_DATA), which an eventfd that stands for them has not. Default `true`. */
  readonly notificationData?: boolean;
}

/** Features that have a register behind the least that a common configuration has. */
const WITH_REGISTERS = VIRTIO_F_NOTIF_CONFIG_DATA | VIRTIO_F_RING_RESET;

/** Tries, 1 ms apart, for a device to finish a reset, or whatever else it takes its time for. */
const TRIES = 10_000;

/**
 * Takes a virtio-pci function into use as a kernel does, up to where virtio begins (VIRTIO 1.3 §4.1).
 *
 * @param memory - what the function can reach of it, and the driver too.
 * @throws TransportError when it is none, or can't be used; the platform is left open.
 */
export async function openPciDriver(
  platform: PciPlatform,
  memory: GuestMemory,
  options: PciDriverOptions = {},
): Promise<DriverTransport> {
  const found = await probeFunction(platform);
  const driver = new PciDriver(platform, memory, found, options.notificationData ?? true);
  await driver.connect(options.vectors ?? Number.POSITIVE_INFINITY);
  return driver;
}

class PciDriver implements DriverTransport {
  readonly name: string;
  readonly deviceId: number;
  readonly memory: GuestMemory;
  readonly #platform: PciPlatform;
  readonly #function: ProbedFunction;
  readonly #common: CommonRegisters;
  readonly #notificationData: boolean;
  /** MSI-X vectors in use; 0 for INTx. */
  #vectors = 0;
  #queues = 0;
  readonly #interrupts: ((() => void) | undefined)[] = [];
  #shared: Promise<ReadonlyMap<number, DriverSharedMemory>> | undefined;
  /** Of BARs. */
  readonly #mappings: Mapping[] = [];
  #changed: () => void = () => {};
  #failed: ((error: TransportError) => void) | undefined;
  #failure: TransportError | undefined;
  #closed = false;
  #features = 0n;
  #kind = new RingKind(0n);

  constructor(platform: PciPlatform, memory: GuestMemory, found: ProbedFunction, notificationData: boolean) {
    this.#notificationData = notificationData;
    this.name = platform.name;
    this.deviceId = found.deviceId;
    this.memory = memory;
    this.#platform = platform;
    this.#function = found;
    this.#common = new CommonRegisters(platform, found.common);
    platform.onLost((error) => {
      this.#fail(error instanceof TransportError ? error : new TransportError('LOST', error.message));
    });
  }

  /** Switches the function on, and connects its interrupts: as many vectors as are of use, or the line. */
  async connect(most: number): Promise<void> {
    const decode = this.#function.bars.some(({ kind }) => kind === 'io')
      ? pci.PCI_COMMAND_IO | pci.PCI_COMMAND_MEMORY
      : pci.PCI_COMMAND_MEMORY;
    const command = decode | pci.PCI_COMMAND_MASTER;
    await this.#platform.writeConfig(pci.PCI_COMMAND, le16(command));
    this.#queues = await this.#common.read('num_queues', 2);
    const { msix } = this.#function;
    const vectors = Math.min(msix?.vectors ?? 0, most, 1 + this.#queues);
    // One for the configuration and one for all queues is the least that is of use.
    if (msix === undefined || vectors < 2) {
      await this.#platform.connectIntx((done) => void this.#intx(done));
      return;
    }
    this.#vectors = vectors;
    await this.#platform.writeConfig(pci.PCI_COMMAND, le16(command | pci.PCI_COMMAND_INTX_DISABLE));
    const handlers = Array.from({ length: vectors }, (_, vector) => () => this.#vector(vector));
    await this.#platform.connectVectors(handlers);
    await this.#enableMsix(msix, vectors);
  }

  async reset(): Promise<void> {
    this.#interrupts.length = 0;
    await this.#common.write('device_status', 1, 0);
    await this.#until(async () => (await this.#common.read('device_status', 1)) === 0, 'its reset');
    if (this.#failure?.code === 'NEEDS_RESET') this.#failure = undefined;
    await this.#addStatus(virtio.VIRTIO_CONFIG_S_ACKNOWLEDGE);
    await this.#addStatus(virtio.VIRTIO_CONFIG_S_DRIVER);
    await this.#setVector('config_msix_vector', 0);
  }

  async offeredFeatures(): Promise<bigint> {
    let features = 0n;
    for (let window = 0; window < virtio.FEATURE_WINDOWS; window++) {
      await this.#common.write('device_feature_select', 4, window);
      features |= BigInt(await this.#common.read('device_feature', 4)) << BigInt(32 * window);
    }
    if (!this.#notificationData) features &= ~VIRTIO_F_NOTIFICATION_DATA;
    // A structure from before VIRTIO 1.2 has no registers for these.
    return this.#function.common.length < virtio.COMMON.queue_reset + 2
      ? features & ~WITH_REGISTERS
      : features;
  }

  async acceptFeatures(features: bigint): Promise<void> {
    this.#features = features;
    this.#kind = new RingKind(features);
    for (let window = 0; window < virtio.FEATURE_WINDOWS; window++) {
      const word = Number((features >> BigInt(32 * window)) & 0xffff_ffffn);
      // An older device has no window for the upper ones.
      if (window >= 2 && word === 0) continue;
      await this.#common.write('driver_feature_select', 4, window);
      await this.#common.write('driver_feature', 4, word);
    }
    const status = await this.#addStatus(virtio.VIRTIO_CONFIG_S_FEATURES_OK);
    if ((status & virtio.VIRTIO_CONFIG_S_FEATURES_OK) === 0) {
      throw new TransportError(
        'REFUSED',
        `the device refuses the features 0x${features.toString(16)} (VIRTIO §3.1.1)`,
      );
    }
  }

  async maxQueueSize(index: number): Promise<number> {
    if (index >= this.#queues) return 0;
    await this.#common.write('queue_select', 2, index);
    const size = await this.#common.read('queue_size', 2);
    if (size !== 0 && !this.#kind.isSize(size)) {
      throw new TransportError('PROTOCOL', `queue ${index} has ${size} descriptors (VIRTIO §2.7)`);
    }
    return size;
  }

  async startQueue(
    index: number,
    ring: RingPlace,
    base: number,
    interrupt: () => void,
  ): Promise<(nextPlace: number) => void> {
    if (base !== this.#kind.freshBase) throw new RangeError('a ring starts from its beginning over PCI');
    await this.#common.write('queue_select', 2, index);
    if ((await this.#common.read('queue_enable', 2)) !== 0) {
      throw new TransportError('PROTOCOL', `queue ${index} is enabled already (VIRTIO §4.1.4.3.1)`);
    }
    await this.#common.write('queue_size', 2, ring.size);
    await this.#common.write64('queue_desc', ring.descriptorArea);
    await this.#common.write64('queue_driver', ring.driverArea);
    await this.#common.write64('queue_device', ring.deviceArea);
    await this.#setVector('queue_msix_vector', this.#queueVector(index));
    const kick = await this.#kickOf(index);
    this.#interrupts[index] = interrupt;
    await this.#common.write('queue_enable', 2, 1);
    return kick;
  }

  async resetQueue(index: number): Promise<void> {
    await this.#common.write('queue_select', 2, index);
    await this.#common.write('queue_reset', 2, 1);
    await this.#until(
      async () => (await this.#common.read('queue_reset', 2)) === 0,
      `its reset of queue ${index}`,
    );
    this.#interrupts[index] = undefined;
  }

  async suspend(): Promise<void> {
    const { VIRTIO_CONFIG_S_SUSPEND: suspended, VIRTIO_CONFIG_S_DRIVER_OK: runs } = virtio;
    await this.#addStatus(suspended);
    const isDone = async () => ((await this.#checkedStatus()) & (suspended | runs)) === suspended;
    await this.#until(isDone, 'what it has, to be suspended');
  }

  async resume(): Promise<void> {
    const { VIRTIO_CONFIG_S_SUSPEND: suspended, VIRTIO_CONFIG_S_DRIVER_OK: runs } = virtio;
    await this.#addStatus(runs);
    const isDone = async () => ((await this.#checkedStatus()) & (suspended | runs)) === runs;
    await this.#until(isDone, 'being suspended');
  }

  async start(): Promise<void> {
    const status = await this.#addStatus(virtio.VIRTIO_CONFIG_S_DRIVER_OK);
    this.#checkStatus(status);
  }

  async giveUp(): Promise<void> {
    await this.#addStatus(virtio.VIRTIO_CONFIG_S_FAILED);
  }

  configGeneration(): Promise<number> {
    return this.#common.read('config_generation', 1);
  }

  async readConfig(offset: number, length: number): Promise<Uint8Array> {
    const pieces = await Promise.all(
      this.#pieces(offset, length).map(([at, size]) => this.#platform.readBar(at.bar, at.offset, size)),
    );
    const out = new Uint8Array(length);
    let done = 0;
    for (const piece of pieces) {
      out.set(piece, done);
      done += piece.length;
    }
    return out;
  }

  async writeConfig(offset: number, bytes: Uint8Array): Promise<void> {
    let done = 0;
    for (const [at, size] of this.#pieces(offset, bytes.length)) {
      await this.#platform.writeBar(at.bar, at.offset, bytes.slice(done, done + size));
      done += size;
    }
  }

  sharedMemory(): Promise<ReadonlyMap<number, DriverSharedMemory>> {
    this.#shared ??= this.#findShared();
    return this.#shared;
  }

  onConfigChange(changed: () => void): void {
    this.#changed = changed;
  }

  onFailure(failed: (error: TransportError) => void): void {
    this.#failed = failed;
    if (this.#failure !== undefined) failed(this.#failure);
  }

  close(): void {
    this.#closed = true;
    this.#failed = undefined;
    this.#interrupts.length = 0;
    for (const mapping of this.#mappings.splice(0)) mapping.release();
    this.#platform.close();
  }

  /** In place where a BAR can be mapped, by accesses to it where it can't. */
  async #findShared(): Promise<ReadonlyMap<number, DriverSharedMemory>> {
    const views = new Map<number, MemoryView | undefined>();
    const regions = new Map<number, DriverSharedMemory>();
    for (const [id, { bar, offset, length }] of this.#function.shared) {
      if (!views.has(bar)) views.set(bar, await this.#mapBar(bar));
      const view = views.get(bar);
      if (view === undefined) {
        regions.set(id, new BarSharedMemory(this.#platform, id, { bar, offset, length }));
        continue;
      }
      const window = new SharedWindow(id, length);
      window.put(0, view.slice(offset, length), true, () => {});
      regions.set(id, new MappedSharedMemory(window));
    }
    return regions;
  }

  async #mapBar(bar: number): Promise<MemoryView | undefined> {
    const { size } = this.#function.bars.find(({ index }) => index === bar)!;
    const mapping = await this.#platform.mapBar?.(bar, size);
    if (mapping === undefined) return undefined;
    if (this.#closed) {
      mapping.release();
      throw new TransportError('LOST', 'the transport was closed');
    }
    this.#mappings.push(mapping);
    return mapping.view;
  }

  /** Programs the MSI-X table and switches it on, masked meanwhile. */
  async #enableMsix(msix: NonNullable<ProbedFunction['msix']>, vectors: number): Promise<void> {
    const flags = msix.at + pci.PCI_MSIX_FLAGS;
    await this.#platform.writeConfig(flags, le16(pci.PCI_MSIX_FLAGS_ENABLE | pci.PCI_MSIX_FLAGS_MASKALL));
    for (let vector = 0; vector < vectors; vector++) {
      const entry = new DataView(new ArrayBuffer(pci.PCI_MSIX_ENTRY_SIZE));
      // Where an x86 takes messages, and a vector of its own for each; what is behind the platform may ignore both.
      entry.setUint32(0, 0xfee0_0000, true);
      entry.setUint32(8, 0x4000 + vector, true);
      const at = msix.table.offset + vector * pci.PCI_MSIX_ENTRY_SIZE;
      for (let word = 0; word < pci.PCI_MSIX_ENTRY_SIZE; word += 4) {
        await this.#platform.writeBar(msix.table.bar, at + word, new Uint8Array(entry.buffer, word, 4));
      }
    }
    await this.#platform.writeConfig(flags, le16(pci.PCI_MSIX_FLAGS_ENABLE));
  }

  #queueVector(index: number): number {
    return this.#vectors > this.#queues ? 1 + index : 1;
  }

  /** Maps an event to a vector, if there are any (§4.1.5.1.2). */
  async #setVector(field: 'config_msix_vector' | 'queue_msix_vector', vector: number): Promise<void> {
    if (this.#vectors === 0) return;
    await this.#common.write(field, 2, vector);
    if ((await this.#common.read(field, 2)) !== vector) {
      throw new TransportError(
        'REFUSED',
        `the device has no MSI-X vector ${vector} for ${field} (VIRTIO §4.1.5.1.2)`,
      );
    }
  }

  async #kickOf(index: number): Promise<(nextPlace: number) => void> {
    const { notify } = this.#function;
    const withData = this.#accepted(VIRTIO_F_NOTIFICATION_DATA);
    const offset = (await this.#common.read('queue_notify_off', 2)) * notify.multiplier;
    if (offset + (withData ? NOTIFICATION.size : 2) > notify.length) {
      throw new TransportError(
        'PROTOCOL',
        `queue ${index} is notified at ${offset} of ${notify.length} bytes (VIRTIO §4.1.4.4)`,
      );
    }
    const name = this.#accepted(VIRTIO_F_NOTIF_CONFIG_DATA)
      ? await this.#common.read('queue_notif_config_data', 2)
      : index;
    const at = notify.offset + offset;
    if (!withData) {
      const value = le16(name);
      return () => this.#platform.postBar(notify.bar, at, value);
    }
    const value = new DataView(new ArrayBuffer(NOTIFICATION.size));
    value.setUint16(NOTIFICATION.queue, name, true);
    return (nextPlace) => {
      value.setUint16(NOTIFICATION.next, nextPlace, true);
      this.#platform.postBar(notify.bar, at, new Uint8Array(value.buffer));
    };
  }

  #accepted(feature: bigint): boolean {
    return (this.#features & feature) !== 0n;
  }

  /** Looks again and again whether the device is done with something. */
  async #until(isDone: () => Promise<boolean>, what: string): Promise<void> {
    for (let tries = 0; !(await isDone()); tries++) {
      if (tries === TRIES) throw new TransportError('TIMEOUT', `the device does not finish ${what}`);
      await this.#platform.pause(1);
    }
  }

  /** @throws TransportError when the device needs a reset. */
  async #checkedStatus(): Promise<number> {
    const status = await this.#common.read('device_status', 1);
    this.#checkStatus(status);
    if (this.#failure !== undefined) throw this.#failure;
    return status;
  }

  async #addStatus(bit: number): Promise<number> {
    await this.#common.write('device_status', 1, (await this.#common.read('device_status', 1)) | bit);
    return this.#common.read('device_status', 1);
  }

  #vector(vector: number): void {
    if (vector === 0) void this.#configInterrupt();
    else if (this.#vectors > this.#queues) this.#interrupts[vector - 1]?.();
    else for (const interrupt of this.#interrupts) interrupt?.();
  }

  /** §4.1.5.4: reading ISR lowers the line, and says for what it was up. */
  async #intx(done: () => void): Promise<void> {
    try {
      const { bar, offset } = this.#function.isr;
      const isr = (await this.#platform.readBar(bar, offset, 1))[0]!;
      done();
      if ((isr & virtio.VIRTIO_PCI_ISR_QUEUE) !== 0) for (const interrupt of this.#interrupts) interrupt?.();
      if ((isr & virtio.VIRTIO_PCI_ISR_CONFIG) !== 0) await this.#configInterrupt();
    } catch (error) {
      this.#lost(error);
    }
  }

  async #configInterrupt(): Promise<void> {
    try {
      this.#checkStatus(await this.#common.read('device_status', 1));
      if (!this.#closed) this.#changed();
    } catch (error) {
      this.#lost(error);
    }
  }

  #checkStatus(status: number): void {
    if ((status & virtio.VIRTIO_CONFIG_S_NEEDS_RESET) !== 0) {
      this.#fail(new TransportError('NEEDS_RESET', 'the device needs a reset (VIRTIO §2.1.2)'));
    }
  }

  /** Accesses fail because the function is gone, of which `onLost` tells: the rest is a bug. */
  #lost(error: unknown): void {
    if (!(error instanceof TransportError)) throw error;
    this.#fail(error);
  }

  #fail(error: TransportError): void {
    if (this.#failure !== undefined || this.#closed) return;
    this.#failure = error;
    this.#failed?.(error);
  }

  /** The device-specific configuration in aligned accesses of 4, 2 and 1 bytes (§4.1.3.1). */
  #pieces(offset: number, length: number): [Pick<Structure, 'bar' | 'offset'>, number][] {
    const { device } = this.#function;
    if (device === undefined || offset + length > device.length) {
      throw new RangeError(
        `the configuration space has ${device?.length ?? 0} bytes, not ${offset + length}`,
      );
    }
    const pieces: [Pick<Structure, 'bar' | 'offset'>, number][] = [];
    for (let at = offset; at < offset + length; ) {
      const left = offset + length - at;
      const size = at % 4 === 0 && left >= 4 ? 4 : at % 2 === 0 && left >= 2 ? 2 : 1;
      pieces.push([{ bar: device.bar, offset: device.offset + at }, size]);
      at += size;
    }
    return pieces;
  }
}

function le16(value: number): Uint8Array {
  return Uint8Array.of(value & 0xff, value >> 8);
}
