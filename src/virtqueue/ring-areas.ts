import type { GuestAllocator, GuestBuffer } from '../memory/guest-allocator.js';
import type { GuestMemory } from '../memory/guest-memory.js';

/** So that the two sides don't write to the same line of their caches. */
const ALIGNMENT = 64;

/**
 * Makes a ring's areas, all zero.
 *
 * @param lengths - bytes of each.
 * @throws RangeError when there is no room; then none of them was made.
 */
export function makeAreas(
  memory: GuestMemory,
  allocator: GuestAllocator,
  lengths: readonly number[],
): GuestBuffer[] {
  const areas: GuestBuffer[] = [];
  try {
    for (const length of lengths) {
      const area = allocator.alloc(length, ALIGNMENT);
      areas.push(area);
      memory.write(area.address, new Uint8Array(length));
    }
    return areas;
  } catch (error) {
    for (const area of areas) allocator.free(area);
    throw error;
  }
}
