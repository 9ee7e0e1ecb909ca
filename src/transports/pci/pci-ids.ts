/** What a virtio device calls itself on the PCI bus. */
export interface PciIdentity {
  /** PCI device id, 0x1000 to 0x103f: the subsystem id tells a driver the virtio id then, whatever it is. */
  readonly device: number;
  /** Base class, subclass and programming interface, as 0xBBSSPP. */
  readonly class: number;
}

/*
 * VIRTIO 1.3 §4.1.2 would have 0x1040 plus the virtio id, but its range (and Linux's) ends at 0x107f: no room for id 70.
 * Drivers take a device below 0x1040 for the virtio id that its subsystem id names, which has no such limit. Known ids
 * keep what §4.1.2.1 gives them.
 */
const IDENTITIES: Readonly<Record<number, PciIdentity>> = {
  1: { device: 0x1000, class: 0x02_00_00 },
  2: { device: 0x1001, class: 0x01_00_00 },
  3: { device: 0x1003, class: 0x07_80_00 },
  4: { device: 0x1005, class: 0xff_00_00 },
  5: { device: 0x1002, class: 0xff_00_00 },
  8: { device: 0x1004, class: 0x01_00_00 },
  9: { device: 0x1009, class: 0xff_00_00 },
  18: { device: 0x1012, class: 0x09_80_00 },
  45: { device: 0x1013, class: 0xff_00_00 },
};

const OTHERS: PciIdentity = { device: 0x103f, class: 0xff_00_00 };

/** The PCI ids of a virtio device. */
export function pciIdentity(virtioId: number): PciIdentity {
  return IDENTITIES[virtioId] ?? OTHERS;
}
