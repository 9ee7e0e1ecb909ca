import type { DeviceHost, DeviceQueue } from '../../../virtio/device.js';
import type { DurableMemory } from '../../../virtio/durable.js';
import { ProbeDevice } from './probe-device.js';

/** Answers each request with how many there were, of which it keeps count in durable memory. */
export class CountingDevice extends ProbeDevice {
  memory: DurableMemory | undefined;

  override activate(host: DeviceHost): void {
    super.activate(host);
    this.memory = host.durable('count', 8);
  }

  override queueNotified(queue: DeviceQueue): void {
    for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
      const { view } = this.memory!;
      view.write32(0, view.read32(0) + 1);
      chain.write(Uint8Array.of(view.read32(0)));
      queue.push(chain);
    }
  }
}
