import type { DeviceQueue, QueueSpec } from './device.js';

/** Looks on while a device is run, for traces and metrics. Without one, nothing is done for it. */
export interface Monitor {
  /** May put something between a device and its queue. Asked for each device that takes the place. */
  queue?(queue: DeviceQueue, spec: QueueSpec): DeviceQueue;
  /** The driver kicked this queue. */
  kicked?(queue: number): void;
  /** The driver was interrupted for this queue; `undefined` for the configuration. */
  interrupted?(queue: number | undefined): void;
  /** This queue broke; `undefined` for the whole device. */
  broke?(queue: number | undefined): void;
  /** There was something to warn of. Called for each, also for those that are only counted in the log. */
  warned?(): void;
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

/** Several monitors as one; the first is nearest to the queue. */
export function combineMonitors(monitors: readonly Monitor[]): Monitor {
  return {
    queue: (queue, spec) => monitors.reduce((inner, monitor) => monitor.queue?.(inner, spec) ?? inner, queue),
    kicked(queue) {
      for (const monitor of monitors) monitor.kicked?.(queue);
    },
    interrupted(queue) {
      for (const monitor of monitors) monitor.interrupted?.(queue);
    },
    broke(queue) {
      for (const monitor of monitors) monitor.broke?.(queue);
    },
    warned() {
      for (const monitor of monitors) monitor.warned?.();
    },
  };
}
