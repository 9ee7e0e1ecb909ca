import type { StateFields } from '../../../virtio/state-fields.js';
import * as pci from '../pci-registers.js';

/** The MSI-X table and its pending bits (PCI 3.0 §6.8.2), of 1 to 2048 vectors. */
export class Msix {
  readonly vectors: number;
  /** Where the pending bit array starts in the BAR; the table starts at 0. */
  readonly pbaOffset: number;
  /** Bytes of the BAR: a power of two. */
  readonly barSize: number;
  readonly #table: Uint8Array;
  readonly #pending: Uint8Array;
  /** Masked by the host, whatever the table says. */
  readonly #held: Uint8Array;
  readonly #deliver: (vector: number) => void;
  readonly #maskedAtReset: boolean;
  #enabled = false;
  #functionMask = false;
  /** No message can be sent: the function masters no bus. */
  #silent = true;

  constructor(vectors: number, maskedAtReset: boolean, deliver: (vector: number) => void) {
    this.vectors = vectors;
    this.#maskedAtReset = maskedAtReset;
    this.#deliver = deliver;
    this.#table = new Uint8Array(vectors * pci.PCI_MSIX_ENTRY_SIZE);
    // Whole 64-bit words, as drivers read it.
    this.#pending = new Uint8Array(Math.ceil(vectors / 64) * 8);
    this.#held = new Uint8Array(vectors);
    this.pbaOffset = Math.ceil(this.#table.length / 0x800) * 0x800;
    this.barSize = Math.max(0x1000, 2 ** Math.ceil(Math.log2(this.pbaOffset + this.#pending.length)));
    this.reset();
  }

  /** Whether the driver enabled it: INTx is silent then. */
  get enabled(): boolean {
    return this.#enabled;
  }

  /** Sends the vector's message, or keeps it pending while it is masked. */
  raise(vector: number): void {
    if (!this.#enabled) return;
    if (this.#masked(vector)) this.#pending[vector >> 3]! |= 1 << (vector & 7);
    else this.#deliver(vector);
  }

  /** Masks a vector on the host's behalf, beside the driver's own mask bit. */
  hold(vector: number, held: boolean): void {
    this.#held[vector] = held ? 1 : 0;
    this.#flush(vector);
  }

  /** Without bus mastering messages are kept pending. */
  set silent(value: boolean) {
    this.#silent = value;
    for (let vector = 0; vector < this.vectors; vector++) this.#flush(vector);
  }

  /** The driver wrote message control. */
  control(flags: number): void {
    this.#enabled = (flags & pci.PCI_MSIX_FLAGS_ENABLE) !== 0;
    this.#functionMask = (flags & pci.PCI_MSIX_FLAGS_MASKALL) !== 0;
    if (!this.#enabled) this.#pending.fill(0);
    else for (let vector = 0; vector < this.vectors; vector++) this.#flush(vector);
  }

  read(offset: number, length: number): Uint8Array {
    const out = new Uint8Array(length);
    copyPart(this.#table, 0, out, offset);
    copyPart(this.#pending, this.pbaOffset, out, offset);
    return out;
  }

  /** The table is the driver's to write, but for reserved bits; the pending bits are not. */
  write(offset: number, bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length && offset + i < this.#table.length; i++) {
      const at = (offset + i) % pci.PCI_MSIX_ENTRY_SIZE;
      const mask =
        at === 0
          ? 0xfc
          : at < pci.PCI_MSIX_ENTRY_VECTOR_CTRL
            ? 0xff
            : at === pci.PCI_MSIX_ENTRY_VECTOR_CTRL
              ? 1
              : 0;
      this.#table[offset + i] = bytes[i]! & mask;
      if (at === pci.PCI_MSIX_ENTRY_VECTOR_CTRL)
        this.#flush(Math.floor((offset + i) / pci.PCI_MSIX_ENTRY_SIZE));
    }
  }

  save(): { readonly table: Uint8Array; readonly pending: Uint8Array } {
    return { table: this.#table.slice(), pending: this.#pending.slice() };
  }

  /** Call `control` then. @throws StateError when they can't be. */
  restore(state: StateFields): void {
    const table = state.bytes('table', this.#table.length);
    const pending = state.bytes('pending', this.#pending.length);
    for (let bit = this.vectors; bit < 8 * pending.length; bit++) pending[bit >> 3]! &= ~(1 << (bit & 7));
    this.#pending.set(pending);
    this.write(0, table);
  }

  /** As after power-on; what the host holds stays held. */
  reset(): void {
    this.#enabled = false;
    this.#functionMask = false;
    this.#pending.fill(0);
    this.#table.fill(0);
    if (!this.#maskedAtReset) return;
    for (let vector = 0; vector < this.vectors; vector++) {
      this.#table[vector * pci.PCI_MSIX_ENTRY_SIZE + pci.PCI_MSIX_ENTRY_VECTOR_CTRL] =
        pci.PCI_MSIX_ENTRY_CTRL_MASKBIT;
    }
  }

  #masked(vector: number): boolean {
    return (
      this.#silent ||
      this.#functionMask ||
      this.#held[vector] === 1 ||
      (this.#table[vector * pci.PCI_MSIX_ENTRY_SIZE + pci.PCI_MSIX_ENTRY_VECTOR_CTRL]! &
        pci.PCI_MSIX_ENTRY_CTRL_MASKBIT) !==
        0
    );
  }

  #flush(vector: number): void {
    const bit = 1 << (vector & 7);
    if ((this.#pending[vector >> 3]! & bit) === 0 || !this.#enabled || this.#masked(vector)) return;
    this.#pending[vector >> 3]! &= ~bit;
    this.#deliver(vector);
  }
}

/** Copies what of `from`, which lies at `start`, falls into the window `out` at `offset`. */
function copyPart(from: Uint8Array, start: number, out: Uint8Array, offset: number): void {
  const first = Math.max(start, offset);
  const end = Math.min(start + from.length, offset + out.length);
  if (first < end) out.set(from.subarray(first - start, end - start), first - offset);
}
