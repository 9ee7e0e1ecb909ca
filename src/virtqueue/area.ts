import type { GuestAddress } from '../memory/address.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import { JoinedView } from '../memory/joined-view.js';
import { isSuspension, MemoryError } from '../memory/memory-error.js';
import type { MemoryView } from '../memory/memory-view.js';
import { VirtqueueError } from './virtqueue-error.js';

/**
 * A view of one of a virtqueue's three areas.
 *
 * @param section - of the specification: where it says what the area's address is a multiple of.
 * @throws VirtqueueError `AREA_UNMAPPED` or `AREA_ALIGNMENT`.
 */
export function areaView(
  memory: GuestMemory,
  name: string,
  address: GuestAddress,
  length: number,
  alignment: number,
  section: string,
): MemoryView {
  try {
    const view = memory.view(address, length);
    if (address % alignment !== 0) throw new RangeError('address');
    // A region, or a piece of one, can itself begin at an odd place: then no atomic access can be had of it, wherever the area lies.
    const size = alignment === 16 ? 4 : 2;
    for (const piece of view instanceof JoinedView ? view.piecesOf(size) : [view]) {
      if (size === 4) piece.loadWord(0);
      else piece.load16(0);
    }
    return view;
  } catch (error) {
    if (isSuspension(error)) throw error;
    if (error instanceof MemoryError) {
      throw new VirtqueueError('AREA_UNMAPPED', section, `${name} area: ${error.message}`);
    }
    if (!(error instanceof RangeError)) throw error;
    const text = `${name} area 0x${address.toString(16)} is not aligned to ${alignment} bytes`;
    throw new VirtqueueError('AREA_ALIGNMENT', section, text);
  }
}
