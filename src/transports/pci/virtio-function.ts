import type { GuestMemory } from '../../memory/guest-memory.js';
import { MemoryError } from '../../memory/memory-error.js';
import type { Clock } from '../../virtio/clock.js';
import type { VirtioDevice } from '../../virtio/device.js';
import { DeviceRunner } from '../../virtio/device-runner.js';
import { FeatureError } from '../../virtio/feature-error.js';
import {
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_RING_RESET,
  VIRTIO_F_VERSION_1,
} from '../../virtio/features.js';
import { SplitDeviceQueue } from '../../virtqueue/split/device.js';
import { VirtqueueError } from '../../virtqueue/virtqueue-error.js';
import { CommonConfig } from './common-config.js';
import { ConfigAccess } from './config-access.js';
import { type Bar, ConfigHeader } from './config-header.js';
import { Interrupts } from './interrupts.js';
import { type Layout, layoutOf, NOTIFY_STRIDE, type Part } from './layout.js';
import { Msix } from './msix.js';
import type { PciHost, PciOptions } from './pci-host.js';
import { pciIdentity } from './pci-ids.js';
import * as pci from './pci-registers.js';
import * as virtio from './virtio-pci.js';

/** What the function needs of the process around it. */
export interface FunctionEnvironment {
  readonly clock: Clock;
  defer(callback: () => void): void;
  print(line: string): void;
  warn(line: string): void;
}

const STATUS_BITS =
  virtio.VIRTIO_CONFIG_S_ACKNOWLEDGE |
  virtio.VIRTIO_CONFIG_S_DRIVER |
  virtio.VIRTIO_CONFIG_S_DRIVER_OK |
  virtio.VIRTIO_CONFIG_S_FEATURES_OK |
  virtio.VIRTIO_CONFIG_S_FAILED;

/**
 * A virtio device as a PCI function (VIRTIO 1.3 §4.1), as registers: what a driver reads and writes comes in, interrupts
 * go out through the host. It is pure; a host carries the accesses from wherever the driver is.
 *
 * Accesses may have any length and offset: what is no register reads as zero and ignores writes.
 */
export class VirtioPciFunction {
  /** The BARs, for a host that must announce them. */
  readonly bars: readonly Bar[];
  /** MSI-X vectors; 0 when there is INTx alone. */
  readonly vectors: number;
  readonly #host: PciHost;
  readonly #environment: FunctionEnvironment;
  readonly #memory: GuestMemory;
  readonly #runner: DeviceRunner;
  readonly #layout: Layout;
  readonly #registersBar: number;
  readonly #header: ConfigHeader;
  readonly #access: ConfigAccess;
  readonly #common: CommonConfig;
  readonly #msix: Msix | undefined;
  readonly #msixBar: number;
  readonly #msixCap: number = 0;
  readonly #interrupts: Interrupts;
  readonly #kicks: readonly (() => void)[];
  #status = 0;
  #ringReset = false;
  /** The driver's mastering of the bus, as last acted on. */
  #master = false;
  #generation = 0;
  /** The configuration space's own generation when the driver last read any of it. */
  #configSeen: number;
  #resetting = false;

  /**
   * @throws RangeError for options that can't be, or a device that does not fit them.
   */
  constructor(
    device: VirtioDevice,
    memory: GuestMemory,
    environment: FunctionEnvironment,
    host: PciHost,
    options: PciOptions = {},
  ) {
    const { vectors = Math.min(1 + device.queues.length, 2048), bar = 0, kind = 'memory' } = options;
    if (!Number.isInteger(vectors) || vectors < 0 || vectors > 2048) {
      throw new RangeError(`MSI-X has 0 to 2048 vectors, not ${vectors}`);
    }
    if (!Number.isInteger(bar) || bar < 0 || bar >= pci.PCI_STD_NUM_BARS) {
      throw new RangeError(`the BARs are 0 to 5, there is no ${bar}`);
    }
    this.#host = host;
    this.#environment = environment;
    this.#memory = memory;
    this.vectors = vectors;
    this.#configSeen = device.config.generation;
    this.#runner = new DeviceRunner(device, {
      clock: environment.clock,
      interrupt: (queue) => this.#interrupts.queue(this.#common.queueVector(queue)),
      configInterrupt: () => this.#interrupts.config(this.#common.configVector),
      broken: () => this.#needsReset(),
      defer: (callback) => environment.defer(callback),
      print: (line) => environment.print(line),
      warn: (line) => environment.warn(line),
    });
    this.#kicks = device.queues.map((_, index) => () => this.#runner.kick(index));
    this.#common = new CommonConfig(device.queues, {
      offered: () => this.#runner.offered | VIRTIO_F_RING_RESET,
      vectors,
      // A driver polls for 0 after a reset (§4.1.4.3.2), so an idle device must not show it before it is done either.
      readStatus: () => (this.#resetting ? this.#status || virtio.VIRTIO_CONFIG_S_ACKNOWLEDGE : this.#status),
      writeStatus: (value) => this.#writeStatus(value),
      generation: () => this.#generation,
      featuresOpen: () => (this.#status & virtio.VIRTIO_CONFIG_S_FEATURES_OK) === 0,
      ringReset: () => this.#ringReset,
      enableQueue: (index) => host.perform(() => this.#startQueue(index)),
      resetQueue: (index) => host.perform(() => this.#resetQueue(index)),
    });

    if (vectors > 0) {
      this.#msix = new Msix(vectors, options.maskedAtReset ?? true, (vector) => host.raise(vector));
    }
    this.#interrupts = new Interrupts(host, this.#msix);
    this.#layout = layoutOf(device, kind);
    this.#registersBar = bar;
    this.#msixBar = (bar + 1) % pci.PCI_STD_NUM_BARS;
    const bars: Bar[] = [{ index: bar, kind, size: this.#layout.barSize }];
    if (this.#msix !== undefined) {
      bars.push({ index: this.#msixBar, kind: 'memory', size: this.#msix.barSize });
    }
    this.bars = bars;

    const identity = pciIdentity(device.id);
    this.#header = new ConfigHeader(
      {
        vendor: virtio.PCI_VENDOR_ID_REDHAT_QUMRANET,
        device: identity.device,
        // Not transitional: a legacy driver leaves it alone (§4.1.2.1).
        revision: 1,
        class: identity.class,
        subsystemVendor: virtio.PCI_VENDOR_ID_REDHAT_QUMRANET,
        subsystem: device.id,
      },
      bars,
    );
    if (this.#msix !== undefined) this.#msixCap = this.#addMsix(this.#msix);
    this.#addStructure(virtio.VIRTIO_PCI_CAP_COMMON_CFG, this.#layout.common);
    this.#addStructure(virtio.VIRTIO_PCI_CAP_ISR_CFG, this.#layout.isr);
    if (this.#layout.device !== undefined) {
      this.#addStructure(virtio.VIRTIO_PCI_CAP_DEVICE_CFG, this.#layout.device);
    }
    this.#addStructure(virtio.VIRTIO_PCI_CAP_NOTIFY_CFG, this.#layout.notify, NOTIFY_STRIDE);
    this.#access = new ConfigAccess(this.#header, {
      read: (index, offset, length) => this.#read(index, offset, length),
      write: (index, offset, bytes) => this.#write(index, offset, bytes),
    });
    this.#header.seal();
  }

  /** Reads bytes of the PCI configuration space. */
  readConfig(offset: number, length: number): Uint8Array {
    this.#access.beforeRead(offset, length);
    const out = new Uint8Array(length);
    out.set(this.#header.bytes(offset, length));
    const status = pci.PCI_STATUS - offset;
    if (status >= 0 && status < length && this.#interrupts.pending) out[status]! |= pci.PCI_STATUS_INTERRUPT;
    return out;
  }

  /** Writes bytes of the PCI configuration space. */
  writeConfig(offset: number, bytes: Uint8Array): void {
    this.#header.write(offset, bytes);
    const touches = (at: number): boolean => offset < at + 2 && offset + bytes.length > at;
    if (touches(pci.PCI_COMMAND)) this.#commandWritten();
    if (this.#msix !== undefined && touches(this.#msixCap + pci.PCI_MSIX_FLAGS)) {
      this.#msix.control(this.#header.get16(this.#msixCap + pci.PCI_MSIX_FLAGS));
      this.#interrupts.update();
    }
    this.#access.afterWrite(offset, bytes.length);
  }

  /** Reads registers behind a BAR; zeros while the driver has it switched off (memory or I/O enable). */
  readBar(bar: number, offset: number, length: number): Uint8Array {
    return this.#decodes(bar) ? this.#read(bar, offset, length) : new Uint8Array(length);
  }

  /** Writes registers behind a BAR; ignored while the driver has it switched off. */
  writeBar(bar: number, offset: number, bytes: Uint8Array): void {
    if (this.#decodes(bar)) this.#write(bar, offset, bytes);
  }

  /** Masks an MSI-X vector on the host's behalf, beside the driver's own mask; it is delivered when neither masks it. */
  holdVector(vector: number, held: boolean): void {
    this.#msix?.hold(vector, held);
  }

  /**
   * Resets the whole function, as PCI does it: BARs, MSI-X and the device.
   *
   * @param done - called when it is reset.
   */
  reset(done: () => void): void {
    this.#beginReset();
    this.#host.perform(() => {
      this.#finishReset();
      this.#header.reset();
      this.#msix?.reset();
      this.#interrupts.disabled = false;
      this.#master = false;
      done();
    });
  }

  /** Puts another device in this one's place; see `DeviceRunner.replace`. The driver sees the same function. */
  replace(device: VirtioDevice): void {
    this.#runner.replace(device);
  }

  /** Resets the device and lets it go. */
  close(): void {
    this.#runner.close();
  }

  #addMsix(msix: Msix): number {
    const body = new DataView(new ArrayBuffer(10));
    body.setUint16(pci.PCI_MSIX_FLAGS - 2, msix.vectors - 1, true);
    body.setUint32(pci.PCI_MSIX_TABLE - 2, this.#msixBar, true);
    body.setUint32(pci.PCI_MSIX_PBA - 2, msix.pbaOffset | this.#msixBar, true);
    const at = this.#header.addCapability(pci.PCI_CAP_ID_MSIX, new Uint8Array(body.buffer));
    const flags = pci.PCI_MSIX_FLAGS_ENABLE | pci.PCI_MSIX_FLAGS_MASKALL;
    this.#header.allowWrites(at + pci.PCI_MSIX_FLAGS, new Uint8Array([flags & 0xff, flags >> 8]));
    return at;
  }

  #addStructure(type: number, part: Part, multiplier?: number): void {
    const size = multiplier === undefined ? virtio.CAP.size : virtio.CAP.notifySize;
    const cap = new DataView(new ArrayBuffer(size));
    cap.setUint8(virtio.CAP.cap_len, size);
    cap.setUint8(virtio.CAP.cfg_type, type);
    cap.setUint8(virtio.CAP.bar, this.#registersBar);
    cap.setUint32(virtio.CAP.offset, part.offset, true);
    cap.setUint32(virtio.CAP.length, part.length, true);
    if (multiplier !== undefined) cap.setUint32(virtio.CAP.notify_off_multiplier, multiplier, true);
    this.#header.addCapability(pci.PCI_CAP_ID_VNDR, new Uint8Array(cap.buffer, 2));
  }

  #decodes(bar: number): boolean {
    const kind = this.bars.find(({ index }) => index === bar)?.kind;
    const enable = kind === 'io' ? pci.PCI_COMMAND_IO : pci.PCI_COMMAND_MEMORY;
    return (this.#header.get16(pci.PCI_COMMAND) & enable) !== 0;
  }

  #read(bar: number, offset: number, length: number): Uint8Array {
    if (bar === this.#msixBar && this.#msix !== undefined) return this.#msix.read(offset, length);
    const out = new Uint8Array(length);
    if (bar !== this.#registersBar) return out;
    const { common, isr, device } = this.#layout;
    const put = (part: Part, read: (from: number, count: number) => Uint8Array): void => {
      const from = Math.max(offset, part.offset);
      const to = Math.min(offset + length, part.offset + part.length);
      if (from < to) out.set(read(from - part.offset, to - from), from - offset);
    };
    put(common, (from, count) => this.#common.read(from, count));
    put(isr, () => Uint8Array.of(this.#interrupts.readIsr()));
    if (device !== undefined) put(device, (from, count) => this.#readDeviceConfig(from, count));
    return out;
  }

  #write(bar: number, offset: number, bytes: Uint8Array): void {
    if (bar === this.#msixBar) this.#msix?.write(offset, bytes);
    if (bar !== this.#registersBar) return;
    const { common, notify, device } = this.#layout;
    const end = offset + bytes.length;
    const take = (part: Part, write: (from: number, piece: Uint8Array) => void): void => {
      const from = Math.max(offset, part.offset);
      const to = Math.min(end, part.offset + part.length);
      if (from < to) write(from - part.offset, bytes.subarray(from - offset, to - offset));
    };
    take(notify, (from, piece) => this.#notify(from, piece.length));
    take(common, (from, piece) => this.#common.write(from, piece));
    if (device !== undefined) take(device, (from, piece) => this.#writeDeviceConfig(from, piece));
  }

  /** The address says which queue; what is written there says nothing more (§4.1.4.4). */
  #notify(offset: number, length: number): void {
    for (
      let index = Math.ceil(offset / NOTIFY_STRIDE);
      index * NOTIFY_STRIDE < offset + length && index < this.#kicks.length;
      index++
    ) {
      this.#host.perform(this.#kicks[index]!);
    }
  }

  #readDeviceConfig(offset: number, length: number): Uint8Array {
    const { generation } = this.#runner.device.config;
    // Counted only when a change is seen, so that 8 bits never come round between two reads of one driver (§4.1.4.3.1).
    if (generation !== this.#configSeen) {
      this.#configSeen = generation;
      this.#generation = (this.#generation + 1) & 0xff;
    }
    return this.#runner.readConfig(offset, length);
  }

  #writeDeviceConfig(offset: number, bytes: Uint8Array): void {
    // At once, so that a driver reads back what it wrote, whenever the device hears of it.
    if (!this.#runner.device.config.write(offset, bytes)) return;
    this.#host.perform(() => this.#runner.configWritten(offset, bytes.length));
  }

  #commandWritten(): void {
    const command = this.#header.get16(pci.PCI_COMMAND);
    this.#interrupts.disabled = (command & pci.PCI_COMMAND_INTX_DISABLE) !== 0;
    const master = (command & pci.PCI_COMMAND_MASTER) !== 0;
    this.#host.perform(() => this.#setMaster(master));
  }

  /** A function that is no bus master touches no memory and sends no message: the device stands still. */
  #setMaster(master: boolean): void {
    this.#master = master;
    if (!master) this.#runner.pause();
    else if ((this.#status & virtio.VIRTIO_CONFIG_S_DRIVER_OK) !== 0) this.#run();
  }

  #writeStatus(value: number): void {
    if (value === 0) {
      this.#beginReset();
      this.#host.perform(() => this.#finishReset());
      return;
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
    this.#host.perform(() => {
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
      this.#runner.accept(features & ~VIRTIO_F_RING_RESET);
    } catch (error) {
      if (!(error instanceof FeatureError)) throw error;
      this.#warn(`FEATURES_OK refused: ${error.message}`);
      return false;
    }
    this.#ringReset = (features & VIRTIO_F_RING_RESET) !== 0n;
    return true;
  }

  /** DRIVER_OK, or bus mastering came back. */
  #run(): void {
    if (this.#resetting) return;
    const fresh = !this.#runner.active;
    if (fresh) {
      for (const [index, queue] of this.#common.queues.entries()) if (queue.enabled) this.#placeRing(index);
    }
    this.#runner.activate();
    for (const kick of this.#kicks) kick();
  }

  /** A queue was enabled: at once if the device runs (after a queue reset), with DRIVER_OK otherwise. */
  #startQueue(index: number): void {
    if (!this.#runner.active || !this.#common.queues[index]!.enabled) return;
    this.#placeRing(index);
    this.#runner.kick(index);
  }

  #placeRing(index: number): void {
    const queue = this.#common.queues[index]!;
    const features = this.#runner.features;
    try {
      this.#runner.startQueue(
        index,
        new SplitDeviceQueue({
          memory: this.#memory,
          // As written: a size that can't be is the driver's mistake, even if it reads back as another.
          size: queue.sizeValid ? queue.size : 0,
          descriptorArea: queue.descriptorArea,
          driverArea: queue.driverArea,
          deviceArea: queue.deviceArea,
          base: 0,
          eventIdx: (features & VIRTIO_F_EVENT_IDX) !== 0n,
          indirect: (features & VIRTIO_F_INDIRECT_DESC) !== 0n,
        }),
      );
    } catch (error) {
      if (!(error instanceof VirtqueueError || error instanceof MemoryError)) throw error;
      const { name } = this.#runner.device.queues[index]!;
      this.#warn(`queue ${index} (${name}) can't be used: ${error.message}`);
      this.#needsReset();
    }
  }

  /** VIRTIO 1.3 §2.6.1. */
  #resetQueue(index: number): void {
    const queue = this.#common.queues[index]!;
    if (!queue.resetting) return;
    this.#runner.stopQueue(index);
    queue.reset();
  }

  /** From now on nothing of the old driver's counts, though the device may still be in the middle of something. */
  #beginReset(): void {
    this.#resetting = true;
    this.#host.resetting?.();
  }

  #finishReset(): void {
    this.#runner.reset();
    this.#common.reset();
    this.#interrupts.reset();
    this.#status = 0;
    this.#ringReset = false;
    this.#resetting = false;
  }

  /** VIRTIO 1.3 §2.1.2: the device can't go on before the driver resets it. */
  #needsReset(): void {
    if ((this.#status & virtio.VIRTIO_CONFIG_S_NEEDS_RESET) !== 0) return;
    this.#status |= virtio.VIRTIO_CONFIG_S_NEEDS_RESET;
    if ((this.#status & virtio.VIRTIO_CONFIG_S_DRIVER_OK) !== 0) {
      this.#interrupts.config(this.#common.configVector);
    }
  }

  #warn(text: string): void {
    this.#environment.warn(`${this.#runner.device.name}: ${text}`);
  }
}
