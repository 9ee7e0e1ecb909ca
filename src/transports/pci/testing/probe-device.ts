import { ConfigSpace } from '../../../virtio/config-space.js';
import type { DeviceHost, DeviceQueue, VirtioDevice } from '../../../virtio/device.js';
import type { SharedMemorySpec } from '../../../virtio/shared-memory.js';

/** A device that tells what is done to it: it answers each request with its bytes reversed. */
export class ProbeDevice implements VirtioDevice {
  readonly id: number;
  readonly name = 'probe';
  readonly features: bigint = 0x5n;
  readonly queues: readonly { name: string; size: number }[];
  /** 16 bytes, of which a driver may write the last 8. */
  readonly config: ConfigSpace = new ConfigSpace(16, [[8, 16]]);
  /** What was called, in order. */
  readonly calls: string[] = [];
  host: DeviceHost | undefined;
  /** Regions that it has; to be said before it is served. */
  sharedMemory: readonly SharedMemorySpec[] = [];

  constructor(queues = 2, id = 70, size = 64) {
    this.id = id;
    this.queues = Array.from({ length: queues }, (_, i) => ({ name: `queue${i}`, size }));
  }

  activate(host: DeviceHost): void {
    this.host = host;
    this.calls.push(`activate ${host.features}`);
  }

  queueNotified(queue: DeviceQueue): void {
    this.calls.push(`notified ${queue.index}`);
    for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
      chain.write(chain.readRest().reverse());
      queue.push(chain);
    }
  }

  configWritten(offset: number, length: number): void {
    this.calls.push(`config ${offset} ${length}`);
  }

  reset(): void {
    this.host = undefined;
    this.calls.push('reset');
  }

  close(): void {
    this.calls.push('close');
  }
}
