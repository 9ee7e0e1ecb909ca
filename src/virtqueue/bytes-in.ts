import type { GuestBuffer } from '../memory/guest-allocator.js';

/** @throws RangeError when one of them can't be a buffer. */
export function bytesIn(buffers: readonly GuestBuffer[]): number {
  let bytes = 0;
  for (let i = 0; i < buffers.length; i++) {
    const { address, length } = buffers[i]!;
    if (!(Number.isSafeInteger(address + length) && address >= 0 && length > 0 && Number.isInteger(length))) {
      throw new RangeError(`${address} + ${length} bytes is no buffer`);
    }
    bytes += length;
  }
  return bytes;
}
