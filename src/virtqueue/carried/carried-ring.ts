import type { HeldChain } from '../held-chain.js';
import type { TableAt } from '../indirect-table.js';
import type { Crossing } from './crossing.js';

/** A chain as the ring has it: named, not fetched. */
export interface Named {
  readonly chain: HeldChain;
  /** As a crossing has them. */
  readonly place: number;
  readonly count: number;
}

/** The ring of a carried queue, in one layout. What it asks for comes later, and not at all once it can't be had. */
export interface CarriedRing {
  /** The sections that have rules of buffers and of indirect tables. */
  readonly sections: { readonly buffer: string; readonly indirect: string };
  /** What a later queue must start from. @param first - the oldest chain that is here and was not taken by the device. */
  base(first: Crossing | undefined): number;
  /** Whether it is known where to go on. Before, only `begin` may be called. */
  readonly begun: boolean;
  begin(then: () => void): void;
  /** As the queue's. */
  serialOf(head: number): number | undefined;
  isOut(head: number, serial: number): boolean | undefined;
  /** Looks for chains; `next` has them then, if `found` says that there are any. */
  look(found: (any: boolean) => void): void;
  /**
   * The next chain of those that were found; `undefined` after the last. The same again until `take`.
   *
   * @param isHeld - whether a chain of this head is with the device.
   * @throws VirtqueueError when the driver broke a rule; what `tableAt` throws.
   */
  next(isHeld: (head: number) => boolean, tableAt: TableAt): Named | undefined;
  /** Goes on to the one after it. */
  take(named: Named): void;
  /** Whether there may be more than were found. */
  readonly more: boolean;
  /** Has the driver kick for the next one. @returns `false` when it does already; else `then` is called when it knows. */
  askForKicks(then: () => void): boolean;
  /** Gives chains back, in this order. @param then - told, when the driver has them, whether it wants an interrupt. */
  give(done: readonly Crossing[], then: (wanted: boolean) => void): void;
}
