import type { VirtioDevice } from '../../src/virtio/device.js';
import type { DriverTransport } from '../../src/virtio/driver-transport.js';
import type { RingFeatures } from '../../src/virtio/ring-features.js';

/** A device and a way to reach it: what every case of the suite runs on. */
export interface Attached {
  /** A fresh way to the same place: each is a front-end of its own, one at a time. */
  connect(): Promise<DriverTransport>;
  /** What the device printed so far. From another process it may be a little behind: see `printed`. */
  readonly lines: readonly string[];
  /** Waits until the device has printed so many lines. */
  printed(count: number): Promise<readonly string[]>;
  /** What was logged about peers and devices so far. */
  readonly warnings: readonly string[];
  /** Lets everything go. */
  close(): Promise<void>;
}

/** One way of putting a device and a driver together. */
export interface Pairing {
  readonly name: string;
  /**
   * @param make - makes the device, for each front-end anew.
   * @param command - the same device as arguments of `virtio-misc serve`.
   * @param features - the ring features that it offers; what it offers unless told.
   */
  attach(make: () => VirtioDevice, command: readonly string[], features?: RingFeatures): Promise<Attached>;
  /** Ring features that it can have and does not have unless told, beside those that every pairing has. */
  readonly more: RingFeatures;
  /** What can't be had on this pairing, by the case's name, and why. */
  readonly without?: Readonly<Record<string, string>>;
}
