import type { Arms, CarriedHold, Look, QueueOrder } from './eyes.js';

/*
 * What is said to a lookout in another process, and by it. Orders are carried out in their order.
 */

export type ToLookout =
  /** Answered with `seen`. */
  | { readonly what: 'look'; readonly look: Look }
  | { readonly what: 'arm'; readonly arms: Arms }
  /** Answered with `ran`. */
  | { readonly what: 'run'; readonly id: number; readonly order: QueueOrder }
  | { readonly what: 'confirm'; readonly connection: number; readonly holds: readonly CarriedHold[] };

export type FromLookout =
  /** It is there; with the version of its reports, the time that they call 0, ns of CLOCK_MONOTONIC, and the name of the device that it will look at. */
  | {
      readonly what: 'begins';
      readonly version: number;
      readonly origin: string;
      readonly device: string;
    }
  /** A report comes along; `asked` for, or urgent. */
  | { readonly what: 'seen'; readonly asked: boolean }
  | { readonly what: 'ran'; readonly id: number; readonly refused?: string };
