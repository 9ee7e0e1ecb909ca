import type { GuestAddress } from './address.js';

/** Guest memory of which a part can only be asked for. Nobody waits: what is asked for comes later, in no particular order. */
export interface DistantMemory {
  /**
   * Copies guest memory to all of `into`.
   *
   * @param done - called later, never from inside this call, with whether all of it was there; not at all once the peer is gone.
   */
  read(address: GuestAddress, into: Uint8Array, done: (there: boolean) => void): void;
  /** Copies `from`, which is not to be changed until then, to guest memory. */
  write(address: GuestAddress, from: Uint8Array, done: (there: boolean) => void): void;
}
