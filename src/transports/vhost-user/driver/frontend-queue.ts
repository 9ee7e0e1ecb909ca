import type { RingPlace } from '../../../virtio/driver-transport.js';
import type { EventPort } from '../../ports.js';
import type { InbandKick } from './notices.js';

/** A queue that was set up. */
export interface FrontendQueue {
  /** None of these with in-band notifications. */
  readonly events:
    | { readonly kick: EventPort; readonly call: EventPort; readonly err: EventPort }
    | undefined;
  /** Kicks by messages, then. */
  readonly inband: InbandKick | undefined;
  readonly ring: RingPlace;
  readonly interrupt: () => void;
  /** The next available index, when it does not run. */
  base: number;
  running: boolean;
}

/** Tells the device to look at it. */
export function kick({ events, inband }: FrontendQueue): void {
  if (events !== undefined) events.kick.signal();
  else inband?.kick();
}
