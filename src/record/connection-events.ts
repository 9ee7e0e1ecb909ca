import type { ConnectedEvent, InspectEvent, TakenEvent } from '../observe/event.js';

/** A recording that can't be played again, with what to do about it. */
export class ReplayError extends Error {
  override readonly name = 'ReplayError';
}

/** One connection of a recording, from its first event to its last. */
export interface RecordedConnection {
  readonly number: number;
  readonly connected: ConnectedEvent;
  readonly events: readonly InspectEvent[];
}

/**
 * The connections of a recording, in the order in which they came.
 *
 * @throws ReplayError when there is none.
 */
export function connectionsOf(events: readonly InspectEvent[]): RecordedConnection[] {
  const all = new Map<number, InspectEvent[]>();
  for (const event of events) {
    if (event.type === 'connected') all.set(event.connection, []);
    all.get(event.connection)?.push(event);
  }
  if (all.size === 0) throw new ReplayError('no front-end connected in this recording');
  return [...all].map(([number, events]) => ({ number, connected: events[0] as ConnectedEvent, events }));
}

/** What a driver sends of a chain: buffers for the device to read, and sizes of those that it may write. */
export interface SentChain {
  readonly pieces: readonly Uint8Array[];
  readonly room: readonly number[];
}

/**
 * The buffers of a chain, cut as its driver cut them.
 *
 * @throws ReplayError when not all of its bytes were recorded.
 */
export function sentChain(taken: TakenEvent): SentChain {
  const { bytes, readable, writable, descriptors, name, chain } = taken;
  if (bytes.length < readable)
    throw new ReplayError(
      `of chain ${chain} of ${name} ${bytes.length} of ${readable} bytes were recorded: record with a larger --record-bytes`,
    );
  const pieces: Uint8Array[] = [];
  const room: number[] = [];
  let read = 0;
  let written = 0;
  for (const { length, writable: isWritable } of descriptors) {
    if (isWritable) {
      room.push(Math.min(length, writable - written));
      written += length;
    } else {
      pieces.push(bytes.subarray(read, read + length));
      read += length;
    }
  }
  // Of long chains not all descriptors are told.
  if (read < readable) pieces.push(bytes.subarray(read));
  if (written < writable) room.push(writable - written);
  const some = pieces.filter(({ length }) => length > 0);
  const rooms = room.filter((size) => size > 0);
  return some.length + rooms.length > 0 ? { pieces: some, room: rooms } : { pieces: [], room: [1] };
}

/** By where a queue was started in these events: its chains, in the order in which they were taken. */
export function chainsOf(events: readonly InspectEvent[]): Map<InspectEvent, TakenEvent[]> {
  const sessions = new Map<InspectEvent, TakenEvent[]>();
  const current = new Map<number, TakenEvent[]>();
  for (const event of events) {
    if (event.type === 'queue-started') {
      const chains: TakenEvent[] = [];
      current.set(event.queue, chains);
      sessions.set(event, chains);
    } else if (event.type === 'taken') current.get(event.queue)?.push(event);
  }
  return sessions;
}
