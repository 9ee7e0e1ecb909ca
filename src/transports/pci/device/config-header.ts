import * as pci from '../pci-registers.js';

/** What a function says of itself in its header. */
export interface HeaderIds {
  readonly vendor: number;
  readonly device: number;
  readonly revision: number;
  /** As 0xBBSSPP. */
  readonly class: number;
  readonly subsystemVendor: number;
  readonly subsystem: number;
}

/**
 * The 256 bytes of a PCI function's configuration space: which bits a driver may write, and the capability list. Sizing a
 * BAR works by itself: only the address bits above its size can be written.
 */
export class ConfigHeader {
  readonly #bytes = new Uint8Array(pci.PCI_CFG_SPACE_SIZE);
  readonly #writable = new Uint8Array(pci.PCI_CFG_SPACE_SIZE);
  readonly #view = new DataView(this.#bytes.buffer);
  readonly #masks = new DataView(this.#writable.buffer);
  /** What `reset` goes back to. */
  #initial: Uint8Array | undefined;
  #lastLink = pci.PCI_CAPABILITY_LIST;
  #free = pci.PCI_STD_HEADER_SIZEOF;

  constructor(ids: HeaderIds, bars: readonly pci.Bar[]) {
    const view = this.#view;
    view.setUint16(pci.PCI_VENDOR_ID, ids.vendor, true);
    view.setUint16(pci.PCI_DEVICE_ID, ids.device, true);
    view.setUint16(pci.PCI_STATUS, pci.PCI_STATUS_CAP_LIST, true);
    view.setUint32(pci.PCI_REVISION_ID, ids.revision + ids.class * 0x100, true);
    view.setUint16(pci.PCI_SUBSYSTEM_VENDOR_ID, ids.subsystemVendor, true);
    view.setUint16(pci.PCI_SUBSYSTEM_ID, ids.subsystem, true);
    view.setUint8(pci.PCI_INTERRUPT_PIN, 1);
    this.#masks.setUint8(pci.PCI_INTERRUPT_LINE, 0xff);
    let command = pci.PCI_COMMAND_MASTER | pci.PCI_COMMAND_INTX_DISABLE;
    for (const { index, kind, size, wide = false } of bars) {
      const at = pci.PCI_BASE_ADDRESS_0 + 4 * index;
      const memory = wide ? pci.PCI_BASE_ADDRESS_MEM_TYPE_64 | pci.PCI_BASE_ADDRESS_MEM_PREFETCH : 0;
      view.setUint32(at, kind === 'io' ? pci.PCI_BASE_ADDRESS_SPACE_IO : memory, true);
      const mask = -BigInt(size);
      this.#masks.setUint32(at, Number(mask & 0xffff_fff0n), true);
      if (kind === 'io') this.#masks.setUint32(at, ~(size - 1), true);
      if (wide) this.#masks.setUint32(at + 4, Number((mask >> 32n) & 0xffff_ffffn), true);
      command |= kind === 'io' ? pci.PCI_COMMAND_IO : pci.PCI_COMMAND_MEMORY;
    }
    this.#masks.setUint16(pci.PCI_COMMAND, command, true);
  }

  /**
   * Appends a capability to the list.
   *
   * @param id - what `cap_vndr` says.
   * @param body - all after the id and the link.
   * @returns the offset of its first byte.
   */
  addCapability(id: number, body: Uint8Array): number {
    const at = this.#free;
    this.#free += Math.ceil((2 + body.length) / 4) * 4;
    if (this.#free > this.#bytes.length) throw new RangeError('the capability list is full');
    this.#bytes[this.#lastLink] = at;
    this.#lastLink = at + 1;
    this.#bytes[at] = id;
    this.#bytes.set(body, at + 2);
    return at;
  }

  /** Lets the driver write the bits of `mask` of the `mask.length` bytes at `offset`. */
  allowWrites(offset: number, mask: Uint8Array): void {
    this.#writable.set(mask, offset);
  }

  get16(offset: number): number {
    return this.#view.getUint16(offset, true);
  }

  get32(offset: number): number {
    return this.#view.getUint32(offset, true);
  }

  bytes(offset: number, length: number): Uint8Array {
    return this.#bytes.slice(offset, offset + length);
  }

  /** Sets bytes that the function itself changes. */
  put(offset: number, bytes: Uint8Array): void {
    this.#bytes.set(bytes, offset);
  }

  /** A driver's write: bits that are read-only stay. */
  write(offset: number, bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i++) {
      const mask = this.#writable[offset + i];
      if (mask === undefined) return;
      this.#bytes[offset + i] = (this.#bytes[offset + i]! & ~mask) | (bytes[i]! & mask);
    }
  }

  /** Keeps what there is now as the state after a reset. */
  seal(): void {
    this.#initial = this.#bytes.slice();
  }

  /** All of it. */
  save(): Uint8Array {
    return this.#bytes.slice();
  }

  /** @returns where bytes that a driver can't write are others than these: then nothing is taken; -1 when all are the same. */
  restore(bytes: Uint8Array): number {
    const at = bytes.findIndex((byte, i) => ((byte ^ this.#bytes[i]!) & ~this.#writable[i]!) !== 0);
    if (at < 0) this.#bytes.set(bytes);
    return at;
  }

  reset(): void {
    if (this.#initial !== undefined) this.#bytes.set(this.#initial);
  }
}
