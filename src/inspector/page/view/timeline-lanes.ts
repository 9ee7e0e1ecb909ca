import type { QueueState } from '../../protocol.js';

/** A band of the timeline: of a queue, or of the device and what it says. */
export interface Band {
  readonly connection: number;
  readonly queue: number | undefined;
  readonly name: string;
  readonly top: number;
  readonly height: number;
}

/** Left of the bands: their names. */
export const NAMES_WIDTH = 84;
export const AXIS_HEIGHT = 22;
const DEVICE_HEIGHT = 24;
const LOW = 30;
/** Queues beside the one that is looked at. */
const OTHERS = 4;

/** Where each band is: what is looked at has most of the room. */
export function bandsOf(
  connection: number,
  queues: readonly QueueState[],
  chosen: number | undefined,
  height: number,
): Band[] {
  const others = queues.filter(({ queue, running }) => queue !== chosen && running).slice(0, OTHERS);
  const shown = queues.filter((queue) => queue.queue === chosen || others.includes(queue));
  const room = height - AXIS_HEIGHT - DEVICE_HEIGHT - LOW * others.length;
  const bands: Band[] = [
    { connection, queue: undefined, name: 'device', top: AXIS_HEIGHT, height: DEVICE_HEIGHT },
  ];
  let top = AXIS_HEIGHT + DEVICE_HEIGHT;
  for (const { queue, name } of shown) {
    const high = queue === chosen ? Math.max(LOW, room) : LOW;
    bands.push({ connection, queue, name, top, height: high });
    top += high;
  }
  return bands;
}
