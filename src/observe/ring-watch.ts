import type { VirtqueueError } from '../virtqueue/virtqueue-error.js';
import type { NextChain } from './next-chain.js';
import type { RingCopy, RingLook } from './ring-look.js';

/** How often, since the ring was put under its queue: of everything, told of or not. */
export interface RingCounts {
  /** Chains that the device took, and handed back. */
  readonly taken: number;
  readonly used: number;
  readonly kicks: number;
  readonly interrupts: number;
  /** Interrupts that the driver did not want. */
  readonly suppressed: number;
  /** Times that something was handed back with no kick since the last time. */
  readonly unkicked: number;
}

/** What was missed since chains were last told of. */
export interface Unseen {
  /** Chains that were taken meanwhile. */
  readonly taken: number;
  /** Chains that lie in the ring now: nobody knows since when. */
  readonly waiting: number;
}

/** A chain that the device has. */
export interface HeldHead {
  readonly head: number;
  /** Which it is and since when, ns, where it was told of. */
  readonly chain?: number;
  readonly taken?: number;
}

/** Whether the device is to be kept from the next chain: asked before each is taken. */
export type StopAt = () => boolean;

/**
 * A ring that somebody looks at, while it is under its queue. It is for those who can't hear of every chain: they say of how many they want to hear,
 * look into its memory when they like, and can have the device wait. The driver then waits too, as for a device that is slow.
 */
export interface RingWatch {
  readonly connection: number;
  readonly queue: number;
  readonly size: number;
  readonly packed: boolean;
  /** Its memory is reached by messages, and can't be looked at. */
  readonly remote: boolean;
  readonly counts: RingCounts;
  /** Chains that the device has, and those that lie in the ring as far as that can be seen. */
  readonly inFlight: number;
  readonly available: number;

  /**
   * Tells of the next chains: so many from now on, until they are handed back, with their kicks and interrupts. Of the others it is only counted
   * that they passed.
   *
   * @returns what was missed, if anything may have been.
   */
  show(chains: number): Unseen | undefined;

  /**
   * The ring as it lies in memory now; `undefined` when it can't be looked at.
   *
   * @param most - entries, at most.
   * @throws MemoryError when its memory is gone.
   */
  look(most: number): RingLook | undefined;
  /** The same as bytes, for who reads them elsewhere, or later. */
  copy(most: number): RingCopy | undefined;
  /** Some of the chains that the device has, oldest heads first as far as that is known. */
  heads(most: number): HeldHead[];
  /**
   * The chain that the device would take next; `undefined` when there is none, or it can't be seen. It stays where it is.
   *
   * @param bytes - of it, at most.
   * @throws VirtqueueError when the driver broke a rule with it; MemoryError when its memory is gone.
   */
  next(bytes: number): NextChain | undefined;

  /** The device gets no chain from now on. What it has it can hand back. */
  hold(): void;
  /** It gets so many. */
  step(chains: number): void;
  /** It gets all that wait. The one that it was kept from is not asked about again, unless `ask`. */
  release(ask?: boolean): void;
  readonly held: boolean;
  /** What the driver did wrong, when the device is kept from breaking the queue for it. */
  readonly failure: VirtqueueError | undefined;

  /** Asked before each chain; `undefined` costs nothing. When it says so, the ring is held. */
  stopAt: StopAt | undefined;
  /** Asked when the driver broke a rule. When it says so, the ring is held, and breaks when it is let go. */
  stopBroken: ((error: VirtqueueError) => boolean) | undefined;
}

/** A connection that somebody looks at. */
export interface DeviceWatch {
  readonly connection: number;
  /** Its rings, by queue; none where no ring is. */
  ringOf(queue: number): RingWatch | undefined;
  /**
   * Tells of so many of the device's lines from now on.
   *
   * @returns how many were not told of since the last time.
   */
  showLines(lines: number): number;
}
