import type { QueueShape } from '../queue-shape.js';

/** A queue that is looked at, whatever ring is under it. */
export interface WatchedQueue {
  readonly connection: number;
  readonly queue: number;
  readonly name: string;
  readonly shape: QueueShape;
}
