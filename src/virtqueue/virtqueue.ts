import type { Chain } from './chain.js';

/**
 * The device's end of one virtqueue, whatever its layout (VIRTIO 1.3 §2.6). Arithmetic over guest memory: it knows
 * no fd, no clock and no logger.
 */
export interface Virtqueue {
  /** Number of descriptors (§2.6: at most 32768). */
  readonly size: number;
  /** Chains that were popped and not pushed yet. */
  readonly inFlight: number;
  /**
   * What a later `Virtqueue` over the same ring must start from, as vhost-user's SET_VRING_BASE and GET_VRING_BASE carry it. Of a split ring
   * the next available index, 0..65535. Of a packed one the next available place (the offset in bits 0-14, the wrap counter in bit 15), and
   * the next used one in the 16 bits above.
   */
  readonly base: number;
  /** An earlier device kept what is in flight in the same place: its driver may wait for an interrupt that nobody gave. */
  readonly resumed?: boolean;

  /** Chains of an earlier device that come before those that are new, where there can be such. @internal */
  readonly pending?: number;

  /** Whether the driver made chains available that were not popped. A look at guest memory, cheap enough to be repeated. */
  readonly waiting: boolean;
  /** Whether each look at the ring is a message to the peer, so that waiting for a kick costs less than looking. */
  readonly remote: boolean;

  /**
   * Whether all memory of the ring, and of the chains in flight, can be reached. It always can, but where addresses are translated: then what
   * is missing is asked for.
   *
   * @throws VirtqueueError when it is known that there is nothing.
   */
  readonly reachable: boolean;

  /**
   * Takes the next chain that the driver made available, read once and checked; `undefined` when there is none.
   * The queue owns the chain; it is valid until it is pushed.
   *
   * @throws VirtqueueError when the driver broke a rule. Nothing more can be had from this queue then.
   */
  pop(): Chain | undefined;

  /**
   * A number, 1 to 2^32 - 1, of a chain that was popped and not pushed, by which the next device over this ring knows it too if it is killed.
   *
   * @returns `undefined` where nobody keeps what is in flight.
   */
  serialOf?(head: number): number | undefined;

  /**
   * Whether the driver does not have a chain back that was popped once: it is held, waits to be popped anew, or was pushed and not published.
   *
   * @param serial - as `serialOf` said it, of this queue or of one before it.
   * @returns `undefined` while that is not known, because the ring was not read yet.
   */
  isOut?(head: number, serial: number): boolean | undefined;

  /** Whether the chain came from this queue object, in flight or not: `false` for one from before a reset. */
  owns(chain: Chain): boolean;

  /** Whether the chain of this head is in flight. @internal */
  isHeld?(head: number): boolean;

  /**
   * Hands a chain back. The driver sees it after the next `publish`. `used.len` is the number of bytes from the first
   * writable byte on that were written (`chain.written`). On a broken queue the chain is only let go.
   *
   * @throws TypeError when the chain is not in flight on this queue (pushed twice, or from before a reset).
   */
  push(chain: Chain): void;

  /**
   * Shows the driver all that was pushed since the last call.
   *
   * @returns whether the driver wants an interrupt for it (§2.7.7, §2.7.10); `false` when nothing was pushed.
   */
  publish(): boolean;

  /** Tells the driver that kicks are not needed for now (a hint: §2.7.10.1). */
  disableKicks(): void;

  /**
   * Asks for a kick with the next buffer.
   *
   * @returns `true` when buffers are already there (or the queue is broken): the caller must pop again, no kick will come for them.
   */
  enableKicks(): boolean;

  /**
   * From now on guest memory is not touched. The queue is empty, what is written into its chains is kept for later, and reading from one
   * throws `MemoryError` `SUSPENDED`, as does writing more than can be kept: such a chain is starved. Nothing may be pushed meanwhile.
   */
  suspend(): void;
  /**
   * Takes `suspend` back: what was kept is written.
   *
   * @throws MemoryError when it can't be; with `SUSPENDED`, once more, the rest is still kept.
   */
  resume(): void;
  /** Whether it could not be read or written since it was popped: it has to be served anew. */
  isStarved(chain: Chain): boolean;
  /** The chain that starved last, if it is starved still. */
  readonly lastStarved: Chain | undefined;
  /** Has a starved chain begin anew: as if it was just popped. */
  rewind(chain: Chain): void;

  /**
   * Ends this queue, because the ring was stopped or reset: it touches guest memory no more. Chains that are still held
   * become stale (reading, writing and pushing them throws `TypeError`), `pop` finds nothing. `base` stays readable.
   */
  close(): void;
}
