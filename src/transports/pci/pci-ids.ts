/** What a virtio device calls itself on the PCI bus. */
export interface PciIdentity {
  /** PCI device id. */
  readonly device: number;
  /** PCI subsystem device id. */
  readonly subsystem: number;
  /** Base class, subclass and programming interface, as 0xBBSSPP. */
  readonly class: number;
}

/** §4.1.2: the PCI device id of a virtio id that the range has room for, which ends at 0x107f. */
const FIRST_MODERN = 0x1040;
const MODERN_IDS = 64;
/** Drivers take a device below 0x1040 for the virtio id that its subsystem id names: that has room for every id. */
const BY_SUBSYSTEM = 0x103f;
/** §4.1.2.1: a non-transitional device has a subsystem id of 0x40 or more, so that no legacy driver takes it. */
const NON_TRANSITIONAL = 0x1100;

/** The classes of QEMU's own devices with these ids. */
const CLASSES: Readonly<Record<number, number>> = {
  1: 0x02_00_00,
  2: 0x01_00_00,
  3: 0x07_80_00,
  8: 0x01_00_00,
  9: 0x00_02_00,
  16: 0x03_80_00,
  17: 0x08_03_00,
  18: 0x09_80_00,
  19: 0x07_80_00,
  25: 0x04_01_00,
  26: 0x01_80_00,
  34: 0x07_80_00,
  41: 0x07_80_00,
};
/** QEMU's PCI_CLASS_OTHERS. */
const OTHERS = 0x00_ff_00;

/** virtio-test, whose seed design has it this way, like a transitional device. */
const TEST = { id: 45, device: 0x1013 };

/** The PCI ids of a virtio device (VIRTIO 1.3 §4.1.2). */
export function pciIdentity(virtioId: number): PciIdentity {
  const identity = { class: CLASSES[virtioId] ?? OTHERS };
  if (virtioId === TEST.id) return { ...identity, device: TEST.device, subsystem: virtioId };
  return virtioId < MODERN_IDS
    ? { ...identity, device: FIRST_MODERN + virtioId, subsystem: NON_TRANSITIONAL }
    : { ...identity, device: BY_SUBSYSTEM, subsystem: virtioId };
}
