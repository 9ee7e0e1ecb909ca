import type { GuestAddress } from '../memory/address.js';
import type { GuestAllocator, GuestBuffer } from '../memory/guest-allocator.js';
import type { GuestMemory } from '../memory/guest-memory.js';

/** What a driver's queue is made of, whatever the layout. */
export interface DriverQueueOptions {
  /** Memory that the device sees too. Its regions stay for as long as the queue is used. */
  readonly memory: GuestMemory;
  /** Where in that memory the ring and its indirect tables are made; they are freed by `detach`. */
  readonly allocator: GuestAllocator;
  /** Number of descriptors: 1..32768, of a split ring a power of two, at most what the device offers. */
  readonly size: number;
  /** VIRTIO_F_EVENT_IDX was negotiated. */
  readonly eventIdx: boolean;
  /** VIRTIO_F_INDIRECT_DESC was negotiated. */
  readonly indirect: boolean;
  /** VIRTIO_F_IN_ORDER was negotiated: the device may use many chains by naming the last. */
  readonly inOrder?: boolean;
  /** Where the ring starts, as `Virtqueue.base` says it; a fresh ring's unless told. */
  readonly base?: number;
}

/** What the device has done with one chain. */
export interface UsedChain<Token> {
  /** What was given to `add` with it. */
  readonly token: Token;
  /** Bytes that the device wrote, from the first device-writable byte on. */
  readonly written: number;
}

/**
 * The driver's end of one virtqueue, whatever its layout (VIRTIO 1.3 §2.6). The device may be hostile: what it can change is never relied on.
 *
 * Its areas (`descriptorArea`, ...) are what the transport tells the device. With VIRTIO_F_EVENT_IDX a device interrupts only for what the
 * last `enableInterrupts` named, so call it after each time that `reap` found nothing more.
 *
 * @typeParam Token - what the caller wants back when a chain was used.
 */
export interface DriverQueue<Token> {
  readonly size: number;
  readonly descriptorArea: GuestAddress;
  readonly driverArea: GuestAddress;
  readonly deviceArea: GuestAddress;
  /** Where the ring starts: for the transport to tell the device. */
  readonly base: number;
  /** Chains that were added and not reaped yet. */
  readonly inFlight: number;
  /** Descriptors that are free. */
  readonly free: number;
  /**
   * The next available place as a notification says it (VIRTIO 1.3 §2.9), 16 bits: of a split ring the available index, of a packed one the
   * offset in bits 0-14 and the wrap counter in bit 15.
   */
  readonly nextPlace: number;

  /**
   * Adds a chain: a request to read, room for a response, or both. The device sees it after the next `publish`. The
   * buffers are the device's until the chain is reaped; the two arrays stay the caller's.
   *
   * @param readable - what the device reads, in this order.
   * @param writable - what it may write, in this order, after those.
   * @returns `false` when too few descriptors are free: nothing was added, try again after `reap`.
   * @throws RangeError for a chain that can't be: no buffer, an empty one, more buffers than the queue has descriptors, or 2^32 bytes and more.
   */
  add(readable: readonly GuestBuffer[], writable: readonly GuestBuffer[], token: Token): boolean;

  /**
   * Shows the device all that was added since the last call.
   *
   * @returns whether the device wants a kick for it; `false` when nothing was added.
   */
  publish(): boolean;

  /**
   * Takes the next chain that the device is done with; its buffers are the caller's again.
   *
   * @throws VirtqueueError when the device broke a rule. Every later call throws the same; `detach` gets the tokens back.
   */
  reap(): UsedChain<Token> | undefined;

  /** Tells the device that interrupts are not needed for now: a hint. */
  disableInterrupts(): void;

  /**
   * Asks for an interrupt with the next chain that is used.
   *
   * @returns `true` when there are some already (or the queue is broken): the caller must reap again, no interrupt will come for them.
   */
  enableInterrupts(): boolean;

  /**
   * Ends this queue and frees its areas. Only when the device can't touch them any more: it was reset, or is gone.
   *
   * @returns the tokens of all chains that were in flight, in the order in which they were added.
   */
  detach(): Token[];
}
