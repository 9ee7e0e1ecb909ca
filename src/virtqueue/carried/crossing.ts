import type { HeldChain } from '../held-chain.js';

/** A part of a chain, where the driver has it. */
export type Segments = ReturnType<HeldChain['segmentsOf']>;

/** A chain on its way. */
export interface Crossing {
  readonly head: number;
  /** Where it began in the ring, as `Virtqueue.base` has the next available place. */
  readonly place: number;
  /** What it takes of the ring: descriptors of a packed one, an entry of a split one. */
  readonly count: number;
  /** What the device sees: a copy. */
  readonly chain: HeldChain;
  readonly bytes: Uint8Array;
  readonly readable: number;
  /** Where the device-writable bytes go. */
  readonly writable: Segments;
  /** Bytes that it takes here. */
  readonly cost: number;
  written: number;
  finished: boolean;
}
