import { MemoryError } from '../../memory/memory-error.js';
import type { RingWatch } from '../../observe/ring-watch.js';
import type { RingSeen } from './ear.js';

/** Entries, and chains in flight, that are looked at, at most. */
const ENTRIES = 256;
const HEADS = 256;

/** A ring as it is now. */
export function copyOfRing(
  connection: number,
  queue: number,
  ring: RingWatch | undefined,
  time: number,
): RingSeen {
  const of = { connection, queue, time };
  const none = (reason: string): RingSeen => ({ ...of, heads: [], inFlight: 0, waiting: 0, reason });
  if (ring === undefined) return none('it has no ring');
  if (ring.remote) return none('its memory is reached by messages');
  try {
    const copy = ring.copy(ENTRIES);
    if (copy === undefined) return none('it has no ring');
    const { inFlight, available: waiting } = ring;
    return { ...of, copy, heads: ring.heads(HEADS), inFlight, waiting };
  } catch (error) {
    if (error instanceof MemoryError) return none(`its memory can't be reached: ${error.message}`);
    throw error;
  }
}
