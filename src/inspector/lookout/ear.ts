import type { InspectEvent } from '../../observe/event.js';
import type { RingCopy } from '../../observe/ring-look.js';
import type { HeldHead, RingCounts, Unseen } from '../../observe/ring-watch.js';
import type { Hold } from '../protocol.js';

/** A ring at one moment; or why it can't be looked at. */
export interface RingSeen {
  readonly connection: number;
  readonly queue: number;
  readonly time: number;
  readonly copy?: RingCopy;
  readonly heads: readonly HeldHead[];
  readonly inFlight: number;
  readonly waiting: number;
  readonly reason?: string;
}

/** How often a breakpoint hit, and could not be asked, since that was told last. */
export interface Hits {
  readonly id: number;
  readonly hits: number;
  readonly misfits: number;
}

/** Who hears what a lookout sees, in the order in which it was seen. Times are ns of one clock. */
export interface Ear {
  event(event: InspectEvent): void;
  /** What a ring counted since that was told last, and how many chains wait in it. */
  counted(connection: number, queue: number, counts: RingCounts, waiting: number): void;
  /** Chains, and lines, passed that are not told of. */
  missed(connection: number, queue: number, unseen: Unseen, time: number): void;
  missedLines(connection: number, lines: number, time: number): void;
  /** A queue was held, or goes on, and why. */
  did(connection: number, queue: number, what: 'hold' | 'release', text: string, time: number): void;
  ring(seen: RingSeen): void;
  /** All that is held now. */
  holds(holds: readonly Hold[]): void;
  hits(hits: Hits): void;
}
