import type { PlacedRegion } from '../../../virtio/local-shared-memory.js';
import * as pci from '../pci-registers.js';
import * as virtio from '../virtio-pci.js';
import type { ConfigHeader } from './config-header.js';
import { type Layout, NOTIFY_STRIDE, type Part } from './layout.js';
import type { Msix } from './msix.js';

/**
 * Puts the MSI-X capability on the list (PCI 3.0 §6.8.2).
 *
 * @param bar - which BAR has the table and the pending bits.
 * @returns the offset of its first byte.
 */
export function addMsixCapability(header: ConfigHeader, msix: Msix, bar: number): number {
  const body = new DataView(new ArrayBuffer(10));
  body.setUint16(pci.PCI_MSIX_FLAGS - 2, msix.vectors - 1, true);
  body.setUint32(pci.PCI_MSIX_TABLE - 2, bar, true);
  body.setUint32(pci.PCI_MSIX_PBA - 2, msix.pbaOffset | bar, true);
  const at = header.addCapability(pci.PCI_CAP_ID_MSIX, new Uint8Array(body.buffer));
  const flags = pci.PCI_MSIX_FLAGS_ENABLE | pci.PCI_MSIX_FLAGS_MASKALL;
  header.allowWrites(at + pci.PCI_MSIX_FLAGS, new Uint8Array([flags & 0xff, flags >> 8]));
  return at;
}

/** Puts a capability on the list for each virtio structure behind the BAR (VIRTIO 1.3 §4.1.4). */
export function addVirtioCapabilities(header: ConfigHeader, layout: Layout, bar: number): void {
  const add = (type: number, part: Part, multiplier?: number): void => {
    const size = multiplier === undefined ? virtio.CAP.size : virtio.CAP.notifySize;
    const cap = new DataView(new ArrayBuffer(size));
    cap.setUint8(virtio.CAP.cap_len, size);
    cap.setUint8(virtio.CAP.cfg_type, type);
    cap.setUint8(virtio.CAP.bar, bar);
    cap.setUint32(virtio.CAP.offset, part.offset, true);
    cap.setUint32(virtio.CAP.length, part.length, true);
    if (multiplier !== undefined) cap.setUint32(virtio.CAP.notify_off_multiplier, multiplier, true);
    header.addCapability(pci.PCI_CAP_ID_VNDR, new Uint8Array(cap.buffer, 2));
  };
  add(virtio.VIRTIO_PCI_CAP_COMMON_CFG, layout.common);
  add(virtio.VIRTIO_PCI_CAP_ISR_CFG, layout.isr);
  if (layout.device !== undefined) add(virtio.VIRTIO_PCI_CAP_DEVICE_CFG, layout.device);
  add(virtio.VIRTIO_PCI_CAP_NOTIFY_CFG, layout.notify, NOTIFY_STRIDE);
}

/** Puts a capability on the list for each shared memory region (VIRTIO 1.3 §4.1.4.7). @param bar - which BAR has them all. */
export function addSharedMemoryCapabilities(
  header: ConfigHeader,
  places: readonly PlacedRegion[],
  bar: number,
): void {
  for (const { id, offset, length } of places) {
    const cap = new DataView(new ArrayBuffer(virtio.CAP.size64));
    cap.setUint8(virtio.CAP.cap_len, virtio.CAP.size64);
    cap.setUint8(virtio.CAP.cfg_type, virtio.VIRTIO_PCI_CAP_SHARED_MEMORY_CFG);
    cap.setUint8(virtio.CAP.bar, bar);
    cap.setUint8(virtio.CAP.id, id);
    cap.setUint32(virtio.CAP.offset, offset % 2 ** 32, true);
    cap.setUint32(virtio.CAP.length, length % 2 ** 32, true);
    cap.setUint32(virtio.CAP.offset_hi, Math.floor(offset / 2 ** 32), true);
    cap.setUint32(virtio.CAP.length_hi, Math.floor(length / 2 ** 32), true);
    header.addCapability(pci.PCI_CAP_ID_VNDR, new Uint8Array(cap.buffer, 2));
  }
}
