import type { VirtioDevice } from '../../../virtio/device.js';
import { COMMON } from '../virtio-pci.js';

/** A part of the registers' BAR: bytes. */
export interface Part {
  readonly offset: number;
  readonly length: number;
}

/** Where each structure lies in the registers' BAR (VIRTIO 1.3 §4.1.4). */
export interface Layout {
  readonly common: Part;
  readonly isr: Part;
  /** 4 bytes for each queue, which are its whole register. */
  readonly notify: Part;
  /** Absent for a device without a configuration space. */
  readonly device: Part | undefined;
  /** Bytes of the BAR: a power of two. */
  readonly barSize: number;
}

/** Bytes from one queue's notification register to the next: `notify_off_multiplier`. */
export const NOTIFY_STRIDE = 4;

/**
 * Lays the structures out without gaps, so that a small device fits the 256 ports that an I/O BAR may have.
 *
 * @throws RangeError when they do not fit.
 */
export function layoutOf(device: VirtioDevice, kind: 'memory' | 'io'): Layout {
  let end = 0;
  const place = (length: number): Part => {
    const part = { offset: end, length };
    end += Math.ceil(length / 4) * 4;
    return part;
  };
  const common = place(COMMON.size);
  const isr = place(1);
  const notify = place(Math.max(1, device.queues.length) * NOTIFY_STRIDE);
  const size = device.config.size;
  // On 8, so that no 64-bit field of it is cut.
  end = Math.ceil(end / 8) * 8;
  const config = size === 0 ? undefined : place(size);
  const barSize = Math.max(kind === 'io' ? 0x80 : 0x1000, 2 ** Math.ceil(Math.log2(end)));
  if (kind === 'io' && barSize > 0x100) {
    throw new RangeError(`${device.name} needs ${end} bytes of registers; an I/O BAR has room for 256`);
  }
  return { common, isr, notify, device: config, barSize };
}
