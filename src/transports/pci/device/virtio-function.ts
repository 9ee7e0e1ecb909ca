import type { GuestMemory } from '../../../memory/guest-memory.js';
import type { VirtioDevice } from '../../../virtio/device.js';
import { LocalSharedMemory } from '../../../virtio/local-shared-memory.js';
import { openState, StateError, sealState } from '../../../virtio/saved-state.js';
import { StateFields } from '../../../virtio/state-fields.js';
import { pciIdentity } from '../pci-ids.js';
import * as pci from '../pci-registers.js';
import { PCI_VENDOR_ID_REDHAT_QUMRANET } from '../virtio-pci.js';
import { addMsixCapability, addSharedMemoryCapabilities, addVirtioCapabilities } from './capabilities.js';
import { ConfigAccess } from './config-access.js';
import { ConfigHeader } from './config-header.js';
import { Interrupts } from './interrupts.js';
import { layoutOf, NOTIFY_STRIDE } from './layout.js';
import { Msix } from './msix.js';
import type { FunctionEnvironment, PciHost, PciOptions } from './pci-host.js';
import { VirtioRegisters } from './virtio-registers.js';

/**
 * A virtio device as a PCI function (VIRTIO 1.3 §4.1), as registers: what a driver reads and writes comes in, interrupts
 * go out through the host. It is pure; a host carries the accesses from wherever the driver is.
 *
 * Accesses may have any length and offset: what is no register reads as zero and ignores writes.
 */
export class VirtioPciFunction {
  /** The BARs, for a host that must announce them. */
  readonly bars: readonly pci.Bar[];
  /** MSI-X vectors; 0 when there is INTx alone. */
  readonly vectors: number;
  /** Where the queues' notification registers are, by queue: a host may have their writes come another way, as `kick`. */
  readonly doorbells: { readonly bar: number; readonly offsets: readonly number[] };
  /** The BAR with the shared memory regions, and its memory, for a host that can map it for the driver; `undefined` where there is none, or files come and go in it. */
  readonly mappable: { readonly bar: number; readonly fd: number } | undefined;
  readonly #host: PciHost;
  readonly #shared: LocalSharedMemory;
  readonly #sharedBar: number;
  readonly #registersBar: number;
  readonly #header: ConfigHeader;
  readonly #access: ConfigAccess;
  readonly #registers: VirtioRegisters;
  readonly #interrupts: Interrupts;
  readonly #msix: Msix | undefined;
  readonly #msixBar: number;
  readonly #msixCap: number = 0;
  readonly #name: string;
  readonly #queueSizes: readonly number[];
  #changes = 0;

  /**
   * @param memory - what the device can reach of the guest's; regions may come and go.
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
    this.#name = device.name;
    this.#queueSizes = device.queues.map(({ size }) => size);
    this.vectors = vectors;
    if (vectors > 0) {
      this.#msix = new Msix(vectors, options.maskedAtReset ?? true, (vector) => host.raise(vector));
    }
    this.#interrupts = new Interrupts(host, this.#msix);
    const layout = layoutOf(device, kind);
    this.#shared = new LocalSharedMemory(device.sharedMemory ?? [], environment.os);
    this.#registers = new VirtioRegisters(device, {
      shared: this.#shared,
      memory,
      environment,
      host,
      interrupts: this.#interrupts,
      layout,
      vectors,
    });

    this.#registersBar = bar;
    this.doorbells = { bar, offsets: device.queues.map((_, i) => layout.notify.offset + i * NOTIFY_STRIDE) };
    this.#msixBar = (bar + 1) % pci.PCI_STD_NUM_BARS;
    const bars: pci.Bar[] = [{ index: bar, kind, size: layout.barSize }];
    if (this.#msix !== undefined) {
      bars.push({ index: this.#msixBar, kind: 'memory', size: this.#msix.barSize });
    }
    this.#sharedBar = this.#shared.size === 0 ? -1 : freePair(bars);
    const { fd } = this.#shared;
    if (this.#shared.size > 0) {
      bars.push({ index: this.#sharedBar, kind: 'memory', size: this.#shared.size, wide: true });
      if (fd !== undefined) this.mappable = { bar: this.#sharedBar, fd };
    }
    this.bars = bars;
    const identity = pciIdentity(device.id);
    this.#header = new ConfigHeader(
      {
        vendor: PCI_VENDOR_ID_REDHAT_QUMRANET,
        device: identity.device,
        // Not transitional: a legacy driver leaves it alone (§4.1.2.1).
        revision: 1,
        class: identity.class,
        subsystemVendor: PCI_VENDOR_ID_REDHAT_QUMRANET,
        subsystem: identity.subsystem,
      },
      bars,
    );
    if (this.#msix !== undefined) this.#msixCap = addMsixCapability(this.#header, this.#msix, this.#msixBar);
    addVirtioCapabilities(this.#header, layout, bar);
    addSharedMemoryCapabilities(this.#header, this.#shared.places, this.#sharedBar);
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
    this.#changes += 1;
    this.#header.write(offset, bytes);
    const touches = (at: number): boolean => offset < at + 2 && offset + bytes.length > at;
    if (touches(pci.PCI_COMMAND)) this.#commandWritten();
    if (this.#msix !== undefined && touches(this.#msixCap + pci.PCI_MSIX_FLAGS)) {
      this.#controlMsix(this.#msix);
    }
    this.#access.afterWrite(offset, bytes.length);
  }

  #controlMsix(msix: Msix): void {
    msix.control(this.#header.get16(this.#msixCap + pci.PCI_MSIX_FLAGS));
    this.#interrupts.update();
  }

  /** Reads registers behind a BAR; zeros while the driver has it switched off (memory or I/O enable). */
  readBar(bar: number, offset: number, length: number): Uint8Array {
    return this.#decodes(bar) ? this.#read(bar, offset, length) : new Uint8Array(length);
  }

  /** Writes registers behind a BAR; ignored while the driver has it switched off. */
  writeBar(bar: number, offset: number, bytes: Uint8Array): void {
    if (this.#decodes(bar)) this.#write(bar, offset, bytes);
  }

  /** The driver wrote a queue's notification register, and the host was told otherwise than by a write. */
  kick(queue: number): void {
    if (this.#decodes(this.#registersBar)) this.#registers.notified(queue);
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
    this.#registers.beginReset();
    this.#host.perform(() => {
      this.#finishReset();
      done();
    });
  }

  #finishReset(): void {
    this.#changes += 1;
    this.#registers.finishReset();
    this.#header.reset();
    this.#msix?.reset();
    this.#commandWritten();
  }

  /**
   * Has the device hand back what it holds, and stand still: no memory is touched and nobody interrupted until `proceed`. Accesses to
   * registers go on.
   *
   * @param done - called once, from the event loop: with what went wrong, if anything did; then all goes on as before.
   */
  halt(done: (problem?: string) => void): void {
    this.#registers.halt(done);
  }

  /** @see Session.portray */
  portray(): Uint8Array {
    return this.#registers.portray();
  }

  /** @see VirtioRegisters.yield */
  yield(done: (result: Uint8Array | Error) => void): void {
    this.#registers.yield(done);
  }

  /** @see Session.leave */
  leave(): void {
    this.#registers.leave();
  }

  /** Whether the driver is ready. */
  get active(): boolean {
    return this.#registers.active;
  }

  /** The device alone, as bytes. @throws as `DeviceRunner.save`. */
  saveDevice(): Uint8Array {
    return this.#registers.saveDevice();
  }

  /** Takes `halt` back. */
  proceed(): void {
    this.#registers.proceed();
  }

  /** As after `reset`, at once: for a function that is halted. */
  clear(): void {
    this.#registers.beginReset();
    this.#finishReset();
  }

  /**
   * All that a function elsewhere needs to go on in this one's place, of one that is halted.
   *
   * @throws TypeError when the device has no bytes for its state; or what it throws.
   */
  save(): Uint8Array {
    if (this.#shared.size > 0) throw new StateError('a device with shared memory is not moved');
    return sealState({
      function: this.#shape,
      header: this.#header.save(),
      msix: this.#msix?.save(),
      isr: this.#interrupts.save(),
      registers: this.#registers.save(),
    });
  }

  /**
   * Goes on in the place of another, of one that is halted and cleared; from `proceed` on, with the same memory.
   *
   * @throws StateError when it can't; or what the device throws. Then it has to be reset.
   */
  restore(bytes: Uint8Array): void {
    const state = this.#open(bytes);
    this.#changes += 1;
    this.#msix?.restore(state.part('msix'));
    this.#registers.restore(state.part('registers'));
    if (this.#msix !== undefined) this.#controlMsix(this.#msix);
    this.#interrupts.restore(state.number('isr', 3));
    this.#commandWritten();
  }

  /** Takes the header. @throws StateError when they are no state of this function. */
  #open(bytes: Uint8Array): StateFields {
    const state = new StateFields(openState(bytes), 'the state');
    const shape = state.text('function');
    if (shape !== this.#shape) throw new StateError(`the state is of ${shape}, this is ${this.#shape}`);
    const header = state.bytes('header', pci.PCI_CFG_SPACE_SIZE);
    const differs = this.#header.restore(header);
    if (differs >= 0)
      throw new StateError(`the PCI configuration space is another at 0x${differs.toString(16)}`);
    return state;
  }

  /** Differs whenever `keep` may. */
  get changes(): number {
    return this.#changes + this.#registers.changes;
  }

  /**
   * What a function in the next process needs to go on in this one's place when this process dies: all that the driver wrote, and sees. Not what is
   * in flight, nor interrupts: its driver gets one more of each.
   */
  keep(): Uint8Array {
    return sealState({
      function: this.#shape,
      header: this.#header.save(),
      msix: this.#msix?.save(),
      registers: this.#registers.keep(),
    });
  }

  /**
   * Goes on from what `keep` returned in a process before, of one that was just made, with the same memory: as soon as the host performs.
   *
   * @throws StateError when it can't.
   */
  resume(bytes: Uint8Array): void {
    const state = this.#open(bytes);
    this.#msix?.restore(state.part('msix'));
    if (this.#msix !== undefined) this.#controlMsix(this.#msix);
    this.#commandWritten();
    this.#registers.resume(state.part('registers'));
  }

  /** What the driver of one and the same function finds, whichever it is. */
  get #shape(): string {
    const queues = this.#queueSizes.join(' + ');
    return `${this.#name} with ${this.vectors} vectors and queues of ${queues}`;
  }

  /** Puts another device in this one's place; see `DeviceRunner.replace`. The driver sees the same function. */
  replace(device: VirtioDevice): void {
    this.#registers.replace(device);
  }

  /** Resets the device and lets it go. */
  close(): void {
    this.#registers.close();
    this.#shared.close();
  }

  #decodes(bar: number): boolean {
    const kind = this.bars.find(({ index }) => index === bar)?.kind;
    const enable = kind === 'io' ? pci.PCI_COMMAND_IO : pci.PCI_COMMAND_MEMORY;
    return (this.#header.get16(pci.PCI_COMMAND) & enable) !== 0;
  }

  #read(bar: number, offset: number, length: number): Uint8Array {
    if (bar === this.#registersBar) return this.#registers.read(offset, length);
    if (bar === this.#sharedBar) return this.#shared.read(offset, length);
    if (bar === this.#msixBar && this.#msix !== undefined) return this.#msix.read(offset, length);
    return new Uint8Array(length);
  }

  #write(bar: number, offset: number, bytes: Uint8Array): void {
    if (bar === this.#registersBar) this.#registers.write(offset, bytes);
    else if (bar === this.#sharedBar) this.#shared.write(offset, bytes);
    else if (bar === this.#msixBar) {
      this.#changes += 1;
      this.#msix?.write(offset, bytes);
    }
  }

  #commandWritten(): void {
    const command = this.#header.get16(pci.PCI_COMMAND);
    this.#interrupts.disabled = (command & pci.PCI_COMMAND_INTX_DISABLE) !== 0;
    this.#registers.setMaster((command & pci.PCI_COMMAND_MASTER) !== 0);
  }
}

/** A BAR that is free, and the next one too, for the upper half of its address. @throws RangeError when there is none. */
function freePair(bars: readonly pci.Bar[]): number {
  const isFree = (index: number): boolean => !bars.some((bar) => bar.index === index);
  for (const index of [2, 4, 0, 3, 1]) if (isFree(index) && isFree(index + 1)) return index;
  throw new RangeError('there is no BAR left for the shared memory');
}
