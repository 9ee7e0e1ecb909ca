import { PCI_CAP_ID_VNDR } from '../pci-registers.js';
import { CAP, VIRTIO_PCI_CAP_PCI_CFG } from '../virtio-pci.js';
import type { ConfigHeader } from './config-header.js';

/** The registers behind the BARs. */
export interface Registers {
  read(bar: number, offset: number, length: number): Uint8Array;
  write(bar: number, offset: number, bytes: Uint8Array): void;
}

/** The PCI configuration access capability (VIRTIO 1.3 §4.1.4.9): a window to the registers for who can't reach the BARs. */
export class ConfigAccess {
  readonly #header: ConfigHeader;
  readonly #registers: Registers;
  readonly #at: number;

  constructor(header: ConfigHeader, registers: Registers) {
    this.#header = header;
    this.#registers = registers;
    const body = new Uint8Array(CAP.pciCfgSize - 2);
    body[CAP.cap_len - 2] = CAP.pciCfgSize;
    body[CAP.cfg_type - 2] = VIRTIO_PCI_CAP_PCI_CFG;
    this.#at = header.addCapability(PCI_CAP_ID_VNDR, body);
    header.allowWrites(this.#at + CAP.bar, new Uint8Array(1).fill(0xff));
    header.allowWrites(this.#at + CAP.offset, new Uint8Array(CAP.pciCfgSize - CAP.offset).fill(0xff));
  }

  /** Before bytes of the configuration space are read: fetches the window's data if they are among them. */
  beforeRead(offset: number, length: number): void {
    const size = this.#size(offset, length);
    if (size === 0) return;
    this.#header.put(this.#at + CAP.pci_cfg_data, this.#registers.read(this.#bar, this.#offset, size));
  }

  /** After bytes of it were written: passes the window's data on if they were among them. */
  afterWrite(offset: number, length: number): void {
    const size = this.#size(offset, length);
    if (size === 0) return;
    this.#registers.write(this.#bar, this.#offset, this.#header.bytes(this.#at + CAP.pci_cfg_data, size));
  }

  get #bar(): number {
    return this.#header.bytes(this.#at + CAP.bar, 1)[0]!;
  }

  get #offset(): number {
    return this.#header.get32(this.#at + CAP.offset);
  }

  /** Bytes to pass when the access touches the data; 0 when it does not, or the window is set to nothing that can be. */
  #size(offset: number, length: number): number {
    const data = this.#at + CAP.pci_cfg_data;
    if (offset >= data + 4 || offset + length <= data) return 0;
    const size = this.#header.get32(this.#at + CAP.length);
    return (size === 1 || size === 2 || size === 4) && this.#offset % size === 0 ? size : 0;
  }
}
