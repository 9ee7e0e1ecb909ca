import type { GuestAddress } from '../../../memory/address.js';
import type { DistantMemory } from '../../../memory/distant-memory.js';
import type { VirtioDevice } from '../../../virtio/device.js';
import { VIRTIO_F_VERSION_1 } from '../../../virtio/features.js';
import { FakeClock } from '../../../virtio/testing/fake-clock.js';
import { PoliteDriver } from '../../../virtqueue/testing/polite-driver.js';
import type { PciOptions } from '../device/pci-host.js';
import { VirtioPciFunction } from '../device/virtio-function.js';
import * as pci from '../pci-registers.js';
import * as virtio from '../virtio-pci.js';

/** What a bench may be told beside what the function is. */
export interface FunctionBenchOptions {
  /** The polite driver has a packed ring. */
  readonly packed?: boolean;
  /** What the device offers. */
  readonly ringFeatures?: bigint;
  /** Memory that can only be asked for. */
  readonly distant?: DistantMemory;
}

/** A function on the bench: its registers by name, a fake clock, and all that it does to its host to be looked at. */
export class FunctionBench {
  readonly clock: FakeClock = new FakeClock();
  readonly lines: string[] = [];
  readonly warnings: string[] = [];
  /** MSI-X vectors in the order they were sent. */
  readonly raised: number[] = [];
  /** The INTx line, and how often it changed. */
  line = false;
  lineChanges = 0;
  /** What accesses led to waits here while it is set, and for `perform`. */
  held = false;
  readonly function: VirtioPciFunction;
  readonly driver: PoliteDriver;
  /** Where the structures are, by capability type: from the capability list, as a driver finds them. */
  readonly places: ReadonlyMap<number, { bar: number; offset: number; length: number; at: number }>;
  readonly #deferred: (() => void)[] = [];
  readonly #work: (() => void)[] = [];

  /** The function decodes memory and I/O and masters the bus from the start. */
  constructor(
    device: VirtioDevice,
    options: PciOptions = {},
    size = 8,
    { packed = false, ringFeatures, distant }: FunctionBenchOptions = {},
  ) {
    this.driver = new PoliteDriver({ size, packed, eventIdx: false, indirect: false });
    this.function = new VirtioPciFunction(
      device,
      this.driver.memory,
      {
        clock: this.clock,
        defer: (callback) => void this.#deferred.push(callback),
        print: (line) => void this.lines.push(line),
        warn: (line) => void this.warnings.push(line),
        ringFeatures,
      },
      {
        raise: (vector) => void this.raised.push(vector),
        intx: (asserted) => {
          this.line = asserted;
          this.lineChanges += 1;
        },
        perform: (work) => {
          this.#work.push(work);
          if (!this.held) this.perform();
        },
        ...(distant !== undefined && { distant: () => distant }),
      },
      options,
    );
    this.places = new Map(
      this.capabilities()
        .filter(({ id }) => id === pci.PCI_CAP_ID_VNDR)
        .map(({ at }) => [
          this.config(at + virtio.CAP.cfg_type, 1),
          {
            at,
            bar: this.config(at + virtio.CAP.bar, 1),
            offset: this.config(at + virtio.CAP.offset, 4),
            length: this.config(at + virtio.CAP.length, 4),
          },
        ]),
    );
    this.setConfig(pci.PCI_COMMAND, 2, pci.PCI_COMMAND_IO | pci.PCI_COMMAND_MEMORY | pci.PCI_COMMAND_MASTER);
  }

  /** Does what accesses led to. */
  perform(): void {
    for (let work = this.#work.shift(); work !== undefined; work = this.#work.shift()) work();
  }

  /** Runs what was put off. */
  settle(): void {
    for (let callback = this.#deferred.shift(); callback !== undefined; callback = this.#deferred.shift())
      callback();
  }

  /** The capability list, walked as a driver does. */
  capabilities(): { id: number; at: number }[] {
    const found: { id: number; at: number }[] = [];
    for (let at = this.config(pci.PCI_CAPABILITY_LIST, 1); at !== 0; at = this.config(at + 1, 1)) {
      found.push({ id: this.config(at, 1), at });
      if (found.length > 64) throw new Error('the capability list loops');
    }
    return found;
  }

  config(offset: number, size: number): number {
    return number(this.function.readConfig(offset, size));
  }

  setConfig(offset: number, size: number, value: number): void {
    this.function.writeConfig(offset, bytes(size, value));
  }

  /** Reads a register of the structure of this type. */
  read(type: number, offset: number, size: number): number {
    const place = this.places.get(type)!;
    return number(this.function.readBar(place.bar, place.offset + offset, size));
  }

  write(type: number, offset: number, size: number, value: number): void {
    const place = this.places.get(type)!;
    this.function.writeBar(place.bar, place.offset + offset, bytes(size, value));
  }

  common(field: keyof typeof virtio.COMMON): number {
    return this.read(virtio.VIRTIO_PCI_CAP_COMMON_CFG, virtio.COMMON[field], COMMON_SIZES[field] ?? 2);
  }

  setCommon(field: keyof typeof virtio.COMMON, value: number): void {
    this.write(virtio.VIRTIO_PCI_CAP_COMMON_CFG, virtio.COMMON[field], COMMON_SIZES[field] ?? 2, value);
  }

  get status(): number {
    return this.common('device_status');
  }

  get isr(): number {
    return this.read(virtio.VIRTIO_PCI_CAP_ISR_CFG, 0, 1);
  }

  setFeatures(features: bigint): void {
    for (let window = 0; window < virtio.FEATURE_WINDOWS; window++) {
      this.setCommon('driver_feature_select', window);
      this.setCommon('driver_feature', Number((features >> BigInt(32 * window)) & 0xffff_ffffn));
    }
  }

  /** Up to FEATURES_OK (§3.1.1 steps 1-6). @returns the status read back. */
  negotiate(features: bigint = VIRTIO_F_VERSION_1): number {
    this.setCommon('device_status', virtio.VIRTIO_CONFIG_S_ACKNOWLEDGE);
    this.setCommon('device_status', virtio.VIRTIO_CONFIG_S_ACKNOWLEDGE | virtio.VIRTIO_CONFIG_S_DRIVER);
    this.setFeatures(features);
    this.setCommon('device_status', DRIVER | virtio.VIRTIO_CONFIG_S_FEATURES_OK);
    return this.status;
  }

  /** Writes a ring's place, the polite driver's unless told, and enables it. */
  enableQueue(index: number, place: Partial<typeof this.driver.device> = {}): void {
    const { size, descriptorArea, driverArea, deviceArea } = { ...this.driver.device, ...place };
    this.setCommon('queue_select', index);
    this.setCommon('queue_size', size);
    this.setAddress('queue_desc', descriptorArea);
    this.setAddress('queue_driver', driverArea);
    this.setAddress('queue_device', deviceArea);
    this.setCommon('queue_enable', 1);
  }

  setAddress(field: 'queue_desc' | 'queue_driver' | 'queue_device', address: GuestAddress): void {
    const at = virtio.COMMON[field];
    this.write(virtio.VIRTIO_PCI_CAP_COMMON_CFG, at, 4, address % 2 ** 32);
    this.write(virtio.VIRTIO_PCI_CAP_COMMON_CFG, at + 4, 4, Math.floor(address / 2 ** 32));
  }

  driverOk(): void {
    this.setCommon('device_status', this.status | virtio.VIRTIO_CONFIG_S_DRIVER_OK);
  }

  /** All of §3.1.1 with queue 0. */
  start(features: bigint = VIRTIO_F_VERSION_1): void {
    this.negotiate(features);
    this.enableQueue(0);
    this.driverOk();
  }

  /** Makes what the polite driver sent available, and notifies the queue as §4.1.5.2 says. */
  notify(index = 0): void {
    this.driver.publish();
    const at = this.places.get(virtio.VIRTIO_PCI_CAP_NOTIFY_CFG)!.at;
    const multiplier = this.config(at + virtio.CAP.notify_off_multiplier, 4);
    this.setCommon('queue_select', index);
    this.write(virtio.VIRTIO_PCI_CAP_NOTIFY_CFG, this.common('queue_notify_off') * multiplier, 2, index);
  }

  /** Sends a request on queue 0 and takes the answer. */
  request(request: Uint8Array, room: number): Uint8Array | undefined {
    this.driver.send([request], [room]);
    this.notify();
    return this.driver.receive()?.bytes;
  }

  /** Enables MSI-X and unmasks all vectors; gives the configuration and queue 0 theirs. */
  enableMsix(config = 0, queue = 1): void {
    const msix = this.msix;
    for (let vector = 0; vector < this.function.vectors; vector++) this.mask(vector, false);
    this.setConfig(msix + pci.PCI_MSIX_FLAGS, 2, pci.PCI_MSIX_FLAGS_ENABLE);
    this.setCommon('config_msix_vector', config);
    this.setCommon('queue_select', 0);
    this.setCommon('queue_msix_vector', queue);
  }

  /** Where the MSI-X capability is. */
  get msix(): number {
    return this.capabilities().find(({ id }) => id === pci.PCI_CAP_ID_MSIX)!.at;
  }

  mask(vector: number, masked: boolean): void {
    const table = this.config(this.msix + pci.PCI_MSIX_TABLE, 4);
    const at =
      (table & ~pci.PCI_MSIX_BIR) + vector * pci.PCI_MSIX_ENTRY_SIZE + pci.PCI_MSIX_ENTRY_VECTOR_CTRL;
    this.function.writeBar(table & pci.PCI_MSIX_BIR, at, bytes(4, masked ? 1 : 0));
  }

  pending(vector: number): boolean {
    const pba = this.config(this.msix + pci.PCI_MSIX_PBA, 4);
    const at = (pba & ~pci.PCI_MSIX_BIR) + Math.floor(vector / 32) * 4;
    return ((number(this.function.readBar(pba & pci.PCI_MSIX_BIR, at, 4)) >>> (vector % 32)) & 1) === 1;
  }
}

const DRIVER = virtio.VIRTIO_CONFIG_S_ACKNOWLEDGE | virtio.VIRTIO_CONFIG_S_DRIVER;

const COMMON_SIZES: Partial<Record<keyof typeof virtio.COMMON, number>> = {
  device_feature_select: 4,
  device_feature: 4,
  driver_feature_select: 4,
  driver_feature: 4,
  device_status: 1,
  config_generation: 1,
  queue_desc: 4,
  queue_driver: 4,
  queue_device: 4,
};

function number(from: Uint8Array): number {
  return from.reduce((sum, byte, i) => sum + byte * 2 ** (8 * i), 0);
}

function bytes(size: number, value: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => Math.floor(value / 2 ** (8 * i)) % 256);
}
