import { ConfigSpace } from '../../../virtio/config-space.js';
import type { DeviceHost, DeviceQueue, VirtioDevice } from '../../../virtio/device.js';
import type { SharedMemorySpec } from '../../../virtio/shared-memory.js';
import type { Chain } from '../../../virtqueue/chain.js';

/** A device that notes what is done to it, and answers each request with its bytes, at once or when told. */
export class ProbeDevice implements VirtioDevice {
  readonly id = 63;
  readonly name = 'probe';
  readonly features = 0b11n;
  readonly queues: readonly { readonly name: string; readonly size: number }[];
  readonly config: ConfigSpace = new ConfigSpace(12, [[4, 8]]);
  readonly sharedMemory: readonly SharedMemorySpec[];
  /** What was called, in order. */
  readonly calls: string[] = [];
  /** Whether requests wait for `finish`. */
  hold = false;
  /** Whether those that wait were read already. */
  early = false;
  /** Whether those are answered when their queue is to be stopped. */
  yields = false;
  host: DeviceHost | undefined;
  readonly #held: { readonly queue: DeviceQueue; readonly chain: Chain; readonly read: Uint8Array }[] = [];

  /** @param sharedMemory - regions that it has. */
  constructor(queues = 2, sharedMemory: readonly SharedMemorySpec[] = []) {
    this.sharedMemory = sharedMemory;
    this.queues = Array.from({ length: queues }, (_, i) => ({ name: `q${i}`, size: 64 }));
  }

  /** Requests that wait. */
  get held(): number {
    return this.#held.length;
  }

  activate(host: DeviceHost): void {
    this.host = host;
    this.calls.push(`activate ${host.features}`);
  }

  queueNotified(queue: DeviceQueue): void {
    for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
      if (this.hold)
        this.#held.push({ queue, chain, read: this.early ? chain.readRest() : new Uint8Array() });
      else this.#answer(queue, chain);
    }
  }

  /** Answers what waits. */
  finish(): void {
    for (const { queue, chain, read } of this.#held.splice(0)) {
      this.#answer(queue, chain, read);
      queue.flush();
    }
  }

  /** Hands back what waits, without a look at it. */
  giveUp(): void {
    for (const { queue, chain } of this.#held.splice(0)) queue.push(chain);
  }

  queueStopping({ index }: DeviceQueue): void {
    if (!this.yields) return;
    this.calls.push(`stopping ${index}`);
    this.finish();
  }

  configWritten(offset: number, length: number): void {
    this.calls.push(`config ${offset}+${length}`);
  }

  reset(): void {
    this.#held.length = 0;
    this.calls.push('reset');
  }

  close(): void {
    this.calls.push('close');
  }

  #answer(queue: DeviceQueue, chain: Chain, read: Uint8Array = new Uint8Array()): void {
    chain.write(read.length > 0 ? read : chain.readRest());
    queue.push(chain);
  }
}
