import type { BreakpointOn, Hold } from '../protocol.js';

/** What somebody wants to see. */
export interface Look {
  /** Somebody is there: chains and lines are told of, not only counted. */
  readonly looked: boolean;
  /** Rings that are looked at. */
  readonly rings: readonly { readonly connection: number; readonly queue: number }[];
}

/** A breakpoint, as it is set. */
export interface StopSpec {
  readonly id: number;
  readonly connection?: number | undefined;
  readonly queue?: string | undefined;
  readonly on: BreakpointOn;
  readonly enabled: boolean;
}

/** What is to hold queues. */
export interface Arms {
  /** Nobody is there: nothing is held, and no breakpoint hits. */
  readonly asleep: boolean;
  readonly stops: readonly StopSpec[];
  /** Something is held, or may be: who comes waits until it is said what of his is (`confirm`). */
  readonly watchful: boolean;
}

/** Nobody is there. */
export const NO_ARMS: Arms = { asleep: true, stops: [], watchful: false };

/** What is to become of queues. */
export interface QueueOrder {
  readonly command: 'hold' | 'step' | 'release';
  readonly connection: number;
  /** All of them without one. */
  readonly queue?: number | undefined;
  readonly chains?: number | undefined;
}

/** Why a queue is held. */
export type Reason = Pick<Hold, 'since' | 'by' | 'reason' | 'breakpoint'>;

/** What held a queue when another process had it. */
export type CarriedHold = Reason & Pick<Hold, 'queue'>;

/** A lookout, near or far, as it is asked. What it sees it says to an `Ear`. */
export interface Eyes {
  look(look: Look): void;
  arm(arms: Arms): void;
  /** @throws CommandError, or rejects with one, for what can't be. */
  run(order: QueueOrder): void | Promise<void>;
  /** What a connection's queues were held for when another process had it. */
  confirm?(connection: number, holds: readonly CarriedHold[]): void;
}
