import { PROTOCOL_F } from '../messages.js';
import { ProtocolError } from '../protocol-error.js';
import { Refusal } from './refusal.js';

/** What is implemented is all that is offered: QEMU takes whatever bit it sees. */
const ALL = Object.values(PROTOCOL_F).reduce((all, bit) => all | bit, 0n);

/** What must not be negotiated without others. */
const TOGETHER: readonly [bit: bigint, needed: bigint, text: string][] = [
  [
    PROTOCOL_F.GET_VRING_BASE_INFLIGHT,
    PROTOCOL_F.INFLIGHT_SHMFD,
    'GET_VRING_BASE_INFLIGHT takes INFLIGHT_SHMFD',
  ],
  [
    PROTOCOL_F.GET_VRING_BASE_SKIP_DRAIN,
    PROTOCOL_F.GET_VRING_BASE_INFLIGHT | PROTOCOL_F.INFLIGHT_SHMFD,
    'GET_VRING_BASE_SKIP_DRAIN takes GET_VRING_BASE_INFLIGHT and INFLIGHT_SHMFD',
  ],
];

/** What of the protocol itself is negotiated. */
export class ProtocolFeatures {
  readonly offered: bigint;
  #accepted = 0n;

  /** @param has - what there is to be offered of what not each device has, or not each front-end wants to see. */
  constructor(has: { readonly config: boolean; readonly sharedMemory: boolean; readonly inband: boolean }) {
    let offered = ALL;
    // A front-end that does not expect a configuration space complains of one.
    if (!has.config) offered &= ~PROTOCOL_F.CONFIG;
    // For one that has it, QEMU does not let its guest be moved.
    if (!has.sharedMemory) offered &= ~PROTOCOL_F.SHMEM;
    // QEMU accepts it, and sends nothing of it.
    if (!has.inband) offered &= ~PROTOCOL_F.INBAND_NOTIFICATIONS;
    this.offered = offered;
  }

  /** Whether any of these was accepted. */
  has(features: bigint): boolean {
    return (this.#accepted & features) !== 0n;
  }

  /** @throws Refusal when it was not accepted. */
  expect(name: keyof typeof PROTOCOL_F): void {
    if (!this.has(PROTOCOL_F[name])) throw new Refusal(`${name} was not negotiated`);
  }

  /** SET_PROTOCOL_FEATURES. @throws Refusal, or ProtocolError where nothing more could be told. */
  accept(features: bigint): void {
    const extra = features & ~this.offered;
    if (extra !== 0n) throw new Refusal(`bits 0x${extra.toString(16)} were not offered`);
    for (const [bit, needed, text] of TOGETHER) {
      if ((features & bit) !== 0n && (features & needed) !== needed) throw new Refusal(text);
    }
    const needed = PROTOCOL_F.BACKEND_REQ | PROTOCOL_F.REPLY_ACK;
    if ((features & PROTOCOL_F.INBAND_NOTIFICATIONS) !== 0n && (features & needed) !== needed) {
      throw new ProtocolError(
        'FEATURES',
        'SET_PROTOCOL_FEATURES: INBAND_NOTIFICATIONS takes BACKEND_REQ and REPLY_ACK',
      );
    }
    this.#accepted = features;
  }
}
