import { MemoryError } from '../memory/memory-error.js';
import type { RingLook } from '../observe/ring-look.js';
import type { RingWatch } from '../observe/ring-watch.js';
import type { RingSample } from './protocol.js';
import type { QueueModel } from './queue-model.js';

/** Entries, and chains in flight, that one sample has at most. */
const ENTRIES = 256;
const HEADS = 256;

/** A ring as it is now. */
export function sampleRing(
  queue: QueueModel,
  watch: RingWatch | undefined,
  connection: number,
  time: number,
): RingSample {
  const of = { connection, queue: queue.queue, time };
  const none = (reason: string): RingSample => ({ ...of, layout: 'none', reason });
  if (watch === undefined) return none('it has no ring');
  if (watch.remote) return none('its memory is reached by messages');
  try {
    const look = watch.look(ENTRIES);
    if (look === undefined) return none('it has no ring');
    const inFlight = watch.heads(HEADS).map(({ head, chain, taken }) => {
      const id = chain === undefined ? undefined : queue.idOf(chain);
      return { head, ...(taken !== undefined && { taken }), ...(id !== undefined && { id }) };
    });
    const { inFlight: inFlightCount, available: waiting } = watch;
    return { ...of, ...look, inFlight, inFlightCount, waiting, wants: wants(look) };
  } catch (error) {
    if (error instanceof MemoryError) return none(`its memory can't be reached: ${error.message}`);
    throw error;
  }
}

/** What each side wants to hear of. */
function wants(look: RingLook): { interrupts: boolean; kicks: boolean } {
  if (look.layout === 'packed') {
    return { interrupts: look.driverEvent.flags !== 1, kicks: look.deviceEvent.flags !== 1 };
  }
  const { size, available, used } = look;
  // An event that was passed is one that nobody waits for.
  const ahead = (event: number, index: number): boolean => ((event - index) & 0xffff) < size;
  return {
    interrupts:
      available.usedEvent === undefined
        ? (available.flags & 1) === 0
        : ahead(available.usedEvent, used.index),
    kicks: used.availEvent === undefined ? (used.flags & 1) === 0 : ahead(used.availEvent, available.next),
  };
}
