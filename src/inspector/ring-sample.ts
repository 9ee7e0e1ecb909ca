import { lookOf, type RingLook } from '../observe/ring-look.js';
import type { RingSeen } from './lookout/ear.js';
import type { RingSample } from './protocol.js';
import type { QueueModel } from './queue-model.js';

/** A ring as it was seen, with what is known of its chains. */
export function ringSample(
  queue: QueueModel,
  { copy, heads, inFlight, waiting, time, reason }: RingSeen,
): RingSample {
  const of = { connection: queue.connection, queue: queue.queue, time };
  if (copy === undefined) return { ...of, layout: 'none', reason: reason ?? 'it has no ring' };
  const look = lookOf(copy);
  const held = heads.map(({ head, chain, taken }) => {
    const id = chain === undefined ? undefined : queue.idOf(chain);
    return { head, ...(taken !== undefined && { taken }), ...(id !== undefined && { id }) };
  });
  return { ...of, ...look, inFlight: held, inFlightCount: inFlight, waiting, wants: wants(look) };
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
