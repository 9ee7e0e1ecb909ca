import { VIRTIO_MSI_NO_VECTOR, VIRTIO_PCI_ISR_CONFIG, VIRTIO_PCI_ISR_QUEUE } from '../virtio-pci.js';
import type { Msix } from './msix.js';
import type { PciHost } from './pci-host.js';

/** How the function interrupts its driver: MSI-X messages, or the INTx line with the ISR status (VIRTIO 1.3 §4.1.5.3, §4.1.5.4). */
export class Interrupts {
  readonly #host: PciHost;
  readonly #msix: Msix | undefined;
  #isr = 0;
  #disabled = false;
  #silent = true;
  #asserted = false;

  constructor(host: PciHost, msix: Msix | undefined) {
    this.#host = host;
    this.#msix = msix;
  }

  /** The interrupt status bit of the PCI status register: set whether or not the line is disabled (§4.1.4.5.1). */
  get pending(): boolean {
    return this.#isr !== 0 && this.#msix?.enabled !== true;
  }

  /** @param vector - the queue's MSI-X vector, or `VIRTIO_MSI_NO_VECTOR`. */
  queue(vector: number): void {
    this.#interrupt(VIRTIO_PCI_ISR_QUEUE, vector);
  }

  config(vector: number): void {
    // Set with MSI-X too (§4.1.4.5.1), unlike the queues' bit.
    this.#isr |= VIRTIO_PCI_ISR_CONFIG;
    this.#interrupt(VIRTIO_PCI_ISR_CONFIG, vector);
  }

  /** The driver reads the ISR status, which clears it and lowers the line. */
  readIsr(): number {
    const isr = this.#isr;
    this.#isr = 0;
    this.update();
    return isr;
  }

  /** The interrupt disable bit of the PCI command register. */
  set disabled(value: boolean) {
    this.#disabled = value;
    this.update();
  }

  /** Whether the function masters no bus: then it interrupts nobody, and makes up for it later. */
  set silent(value: boolean) {
    this.#silent = value;
    if (this.#msix !== undefined) this.#msix.silent = value;
    this.update();
  }

  /** Tells the host about the line when it changed. Call after MSI-X was enabled or disabled. */
  update(): void {
    const asserted = this.pending && !this.#disabled && !this.#silent;
    if (asserted === this.#asserted) return;
    this.#asserted = asserted;
    this.#host.intx(asserted);
  }

  /** The ISR status, which is as it was then. */
  save(): number {
    return this.#isr;
  }

  restore(isr: number): void {
    this.#isr = isr;
    this.update();
  }

  /** A virtio reset: nothing is pending. */
  reset(): void {
    this.#isr = 0;
    this.update();
  }

  #interrupt(bit: number, vector: number): void {
    if (this.#msix?.enabled === true) {
      if (vector !== VIRTIO_MSI_NO_VECTOR) this.#msix.raise(vector);
      return;
    }
    this.#isr |= bit;
    this.update();
  }
}
