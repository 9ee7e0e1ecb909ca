import type { DeviceHost, DeviceQueue, VirtioDevice } from './device.js';
import type { DeviceClock } from './device-clock.js';
import type { DurableMemory } from './durable.js';
import type { LogContext } from './log-context.js';
import type { Monitor } from './monitor.js';
import type { PrintLine } from './print-line.js';
import { QueueHandle } from './queue-handle.js';
import type { QueueRunner } from './queue-runner.js';
import type { DeviceSharedMemory } from './shared-memory.js';

/** What a device's host is made of, beside its queues and its clock. */
export interface HostPorts {
  readonly sharedMemory: ReadonlyMap<number, DeviceSharedMemory>;
  durable(name: string, size: number): DurableMemory;
  configChanged(): void;
  readonly print: PrintLine;
  warn(line: string, about?: LogContext): void;
}

/** A device in its place on a runner: what is its own, and ends when another takes the place. */
export class Resident {
  readonly device: VirtioDevice;
  readonly clock: DeviceClock;
  /** What the device sees of its queues. */
  readonly queues: readonly DeviceQueue[];
  readonly #handles: readonly QueueHandle[];
  readonly #ports: HostPorts;
  #place: 'tried' | 'serving' | 'retired' = 'serving';
  #configPending = false;

  constructor(
    device: VirtioDevice,
    queues: readonly QueueRunner[],
    clock: DeviceClock,
    ports: HostPorts,
    monitor: Monitor | undefined,
  ) {
    this.device = device;
    this.clock = clock;
    this.#ports = ports;
    this.#handles = queues.map((queue, index) => new QueueHandle(queue, device.queues[index]!.name));
    this.queues = this.#handles.map(
      (handle, index) => monitor?.queue?.(handle, device.queues[index]!) ?? handle,
    );
  }

  /** @param features - of the device's own, what the driver accepted. */
  host(features: bigint): DeviceHost {
    return {
      features,
      queues: this.queues,
      clock: this.clock,
      sharedMemory: this.#ports.sharedMemory,
      durable: (name, size) => this.#ports.durable(name, size),
      configChanged: () => this.#configChanged(),
      print: this.#ports.print,
      warn: (line, about) => this.#ports.warn(line, about),
    };
  }

  /** Until `serve`, the driver sees nothing of what this device does. */
  try(): void {
    this.#place = 'tried';
    for (const handle of this.#handles) handle.try();
  }

  serve(): void {
    this.#place = 'serving';
    for (const handle of this.#handles) handle.serve();
    if (this.#configPending) this.#configChanged();
  }

  retire(): void {
    this.#place = 'retired';
    for (const handle of this.#handles) handle.retire();
  }

  #configChanged(): void {
    if (this.#place === 'serving') this.#ports.configChanged();
    else this.#configPending = this.#place === 'tried';
  }
}
