import type { DeviceQueueOptions } from '../virtqueue/device-queue-options.js';
import type { Virtqueue } from '../virtqueue/virtqueue.js';
import type { DeviceQueue, QueueSpec, VirtioDevice } from './device.js';

/** Looks on while a device is run, for traces, metrics and events. Without one, nothing is done for it. */
export interface Monitor {
  /** May put something between a device and its queue. Asked for each device that takes the place. */
  queue?(queue: DeviceQueue, spec: QueueSpec): DeviceQueue;
  /** The driver kicked this queue. */
  kicked?(queue: number): void;
  /** The driver was interrupted for this queue; `undefined` for the configuration. */
  interrupted?(queue: number | undefined): void;
  /** This queue broke; `undefined` for the whole device. */
  broke?(queue: number | undefined, error?: unknown): void;
  /** There was something to warn of. Called for each, also for those that are only counted in the log. */
  warned?(line?: string): void;
  /**
   * May put something between the runner and a ring that it is to serve a queue from.
   *
   * @param wake - has the device look at the queue, soon: what the ring kept from it may be had now.
   * @internal
   */
  ring?(queue: number, ring: Virtqueue, options: DeviceQueueOptions, wake: () => void): Virtqueue;
  /** The ring of a queue was taken away. @internal */
  stopped?(queue: number, base: number | undefined): void;
  /** The driver accepted features. @internal */
  accepted?(features: bigint, offered: bigint): void;
  /** The driver wrote the status, as far as it reaches us. @internal */
  status?(status: number): void;
  /** The device was activated or goes on, stands still, was reset; an alarm of it rings. @internal */
  lived?(what: 'running' | 'paused' | 'reset' | 'rang'): void;
  /** The driver read the configuration space. @internal */
  configRead?(offset: number, bytes: Uint8Array): void;
  /** The driver wrote there. @internal */
  configWritten?(offset: number, bytes: Uint8Array): void;
  /** The device changed it. @internal */
  configChanged?(bytes: Uint8Array): void;
  /** The device printed a line for its user, whether or not anybody else reads it. @internal */
  printed?(line: string): void;
  /** Whether a line would be dropped now. It is counted then, and need not be made. @internal */
  full?(): boolean;
  /** Another device has the place. @internal */
  replaced?(device: VirtioDevice): void;
}

/** Takes the lines that devices print for their user. */
export interface Print {
  (line: string): void;
  /**
   * Whether a line would be dropped now for want of room. It is counted then, and need not be made. Absent when there is always
   * room.
   */
  full?(): boolean;
}

/** Several monitors as one, the first nearest to the queue; `undefined` if there is none. */
export function combineMonitors(given: readonly (Monitor | undefined)[]): Monitor | undefined {
  const monitors = given.filter((monitor) => monitor !== undefined);
  if (monitors.length < 2) return monitors[0];
  const tell = (call: (monitor: Monitor) => void): void => {
    for (const monitor of monitors) call(monitor);
  };
  const combined: Monitor = {
    queue: (queue, spec) => monitors.reduce((inner, monitor) => monitor.queue?.(inner, spec) ?? inner, queue),
    kicked(queue) {
      for (const monitor of monitors) monitor.kicked?.(queue);
    },
    interrupted(queue) {
      for (const monitor of monitors) monitor.interrupted?.(queue);
    },
    broke: (queue, error) => tell((monitor) => monitor.broke?.(queue, error)),
    warned: (line) => tell((monitor) => monitor.warned?.(line)),
    ring: (queue, ring, options, wake) =>
      monitors.reduce((inner, monitor) => monitor.ring?.(queue, inner, options, wake) ?? inner, ring),
    stopped: (queue, base) => tell((monitor) => monitor.stopped?.(queue, base)),
    accepted: (features, offered) => tell((monitor) => monitor.accepted?.(features, offered)),
    status: (status) => tell((monitor) => monitor.status?.(status)),
    lived: (what) => tell((monitor) => monitor.lived?.(what)),
    configRead: (offset, bytes) => tell((monitor) => monitor.configRead?.(offset, bytes)),
    configWritten: (offset, bytes) => tell((monitor) => monitor.configWritten?.(offset, bytes)),
    configChanged: (bytes) => tell((monitor) => monitor.configChanged?.(bytes)),
    replaced: (device) => tell((monitor) => monitor.replaced?.(device)),
  };
  // Lines are made for whoever hears of them.
  const readers = monitors.filter((monitor) => monitor.printed !== undefined);
  if (readers.length === 0) return combined;
  return {
    ...combined,
    printed: (line) => tell((monitor) => monitor.printed?.(line)),
    // All are asked, as each counts its own.
    full: () => readers.filter((reader) => reader.full?.() === true).length === readers.length,
  };
}
