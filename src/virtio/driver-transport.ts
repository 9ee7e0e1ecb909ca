import type { GuestAddress } from '../memory/address.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import type { DriverSharedMemory } from './shared-memory.js';

/** Where a ring's three areas lie in guest memory (VIRTIO 1.3 §2.6). */
export interface RingPlace {
  /** Descriptors: at most what the device offers, and a power of two unless RING_PACKED was negotiated. */
  readonly size: number;
  readonly descriptorArea: GuestAddress;
  readonly driverArea: GuestAddress;
  readonly deviceArea: GuestAddress;
}

/**
 * A device as its driver reaches it, over loopback, vhost-user or vfio-user. Set-up is asynchronous, kicks and
 * interrupts are not. Every promise rejects with a `TransportError` once the device is lost.
 */
export interface DriverTransport {
  /** Such as `vhost-user`: for messages. */
  readonly name: string;
  /** The virtio device id, where the transport tells it (PCI); `undefined` where it does not (vhost-user). */
  readonly deviceId: number | undefined;
  /** Memory that the device sees too. Rings and buffers must lie in it; the driver divides it up. */
  readonly memory: GuestMemory;

  /** Resets the device, and sets ACKNOWLEDGE and DRIVER (§3.1.1 steps 1-3). */
  reset(): Promise<void>;
  /** The feature bits that the device and the transport offer. */
  offeredFeatures(): Promise<bigint>;
  /** Accepts these bits, a subset of those offered, and sets FEATURES_OK (§3.1.1 steps 5-6). */
  acceptFeatures(features: bigint): Promise<void>;
  /** The most descriptors that the queue can have; 0 when there is no such queue. */
  maxQueueSize(index: number): Promise<number>;
  /**
   * Sets a queue up (§4.1.5.1.3): its ring is zeroed, or continues at `base`.
   *
   * @param base - where it starts, as `Virtqueue.base` says it; only vhost-user can start from another place than that of a fresh ring.
   * @param interrupt - called from the event loop when the device used buffers, or may have.
   * @returns the kick: tells the device that buffers are available, and up to which place (`DriverQueue.nextPlace`). Never blocks, never throws.
   */
  startQueue(
    index: number,
    ring: RingPlace,
    base: number,
    interrupt: () => void,
  ): Promise<(nextPlace: number) => void>;
  /**
   * Resets a queue that was set up, with VIRTIO_F_RING_RESET accepted (§2.6.1): the device has forgotten what it was given there, and does nothing
   * with it any more. `startQueue` and `start` let it begin anew.
   */
  resetQueue(index: number): Promise<void>;
  /** With VIRTIO_F_SUSPEND accepted: the device stands still when this resolves, until `resume` (VIRTIO 1.4 §3.4). Absent where that can't be said. */
  suspend?(): Promise<void>;
  resume?(): Promise<void>;
  /** The driver is ready: sets DRIVER_OK (§3.1.1 step 8). */
  start(): Promise<void>;
  /** The driver gives up on the device: sets FAILED where there is a status (§3.1.1). */
  giveUp(): Promise<void>;

  /** A number that differs after the device changed its configuration space (§2.5.1). */
  configGeneration(): Promise<number>;
  readConfig(offset: number, length: number): Promise<Uint8Array>;
  writeConfig(offset: number, bytes: Uint8Array): Promise<void>;
  /** The device's shared memory regions (§2.10), by id; after `acceptFeatures`. Absent where there can be none. */
  sharedMemory?(): Promise<ReadonlyMap<number, DriverSharedMemory>>;
  /** Says who hears of a change of the configuration space. */
  onConfigChange(changed: () => void): void;
  /** Says who hears, once, that the device needs a reset or is gone for good (`TransportError`). Called at once when it already is. */
  onFailure(failed: (error: TransportError) => void): void;

  /** Lets the device go. Safe to call twice; `onFailure` is not called for it. */
  close(): void;
}

/** `LOST`: the device is gone. `NEEDS_RESET`: it asks for a reset (§2.1.2). `REFUSED`: it refused a step. `TIMEOUT`: no answer. `PROTOCOL`: an answer that can't be. `RESET`: the queue was reset before the answer. */
export type TransportErrorCode = 'LOST' | 'NEEDS_RESET' | 'REFUSED' | 'TIMEOUT' | 'PROTOCOL' | 'RESET';

/** The device's side of a transport failed its driver. */
export class TransportError extends Error {
  override readonly name = 'TransportError';
  readonly code: TransportErrorCode;

  constructor(code: TransportErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}
