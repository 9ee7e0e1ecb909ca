import { ConfigSpace } from '../../virtio/config-space.js';
import type { DeviceHost, DeviceQueue, VirtioDevice } from '../../virtio/device.js';
import * as wire from './wire.js';

/** What `virtioTest` makes. */
export interface TestOptions {
  /** `echo` answers requests; `events` pushes config changes. Default `echo`. */
  readonly variant?: 'echo' | 'events';
  /** `events`: ms from the driver being ready to the first config change. Default 30,000. */
  readonly first?: number;
  /** `events`: ms between config changes. Default 1,000. */
  readonly every?: number;
}

/** A driver sends one; more than this in one request is a flood. */
const MAX_COUNTERS = 256;

/** virtio-test: the smallest honest device, and the one to copy. It prints what it gets, letter for letter as its design has it. */
export function virtioTest({
  variant = 'echo',
  first = 30_000,
  every = 1_000,
}: TestOptions = {}): VirtioDevice {
  return variant === 'echo' ? new EchoDevice() : new EventsDevice(first * 1e6, every * 1e6);
}

abstract class TestDevice implements VirtioDevice {
  readonly id = wire.VIRTIO_ID_TEST;
  readonly name = 'virtio-test';
  abstract readonly features: bigint;
  readonly queues = [{ name: 'print', size: 128 }];
  readonly config = new ConfigSpace(wire.CONFIG.size, [[0, wire.CONFIG.size]]);
  protected host!: DeviceHost;

  activate(host: DeviceHost): void {
    this.host = host;
  }

  abstract queueNotified(queue: DeviceQueue): void;
}

class EchoDevice extends TestDevice {
  readonly features = wire.VIRTIO_TEST_F_CAN_PRINT;
  readonly #bytes = new Uint8Array(wire.REQUEST.size);

  queueNotified(queue: DeviceQueue): void {
    for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
      if (chain.readable < wire.REQUEST.size || chain.writable < wire.RESPONSE.size) {
        this.host.warn(
          `a request has ${wire.REQUEST.size} bytes and room for ${wire.RESPONSE.size}, not ${chain.readable} and ${chain.writable}: not answered`,
        );
      } else {
        chain.read(this.#bytes);
        const request = wire.decodeRequest(this.#bytes);
        this.#print(request);
        chain.write(
          wire.encodeResponse({
            ret: request.arg1 + 100,
            arg1: request.arg2 + 100,
            arg2: request.arg3 + 100,
          }),
        );
      }
      queue.push(chain);
    }
  }

  #print(request: wire.TestRequest): void {
    const line = (name: string, value: number | string): void =>
      this.host.print(`QEMU_BACK_END: >>> get ${name} [ ${value} ] form the front end <<<`);
    line('type', request.type);
    line('arg1', request.arg1);
    line('arg2', request.arg2);
    line('arg3', request.arg3);
    line('arg3', request.arg4);
  }
}

class EventsDevice extends TestDevice {
  readonly features = wire.VIRTIO_TEST_F_CAN_PRINT | wire.VIRTIO_TEST_F_EVENTS;
  readonly #first: number;
  readonly #every: number;
  readonly #counter = new Uint8Array(wire.COUNTER_SIZE);

  /** Both in ns. */
  constructor(first: number, every: number) {
    super();
    this.#first = first;
    this.#every = every;
  }

  override activate(host: DeviceHost): void {
    super.activate(host);
    let count = 0;
    let due = host.clock.now() + this.#first;
    const alarm = host.clock.alarm(() => {
      host.print(`==============set config:${count}`);
      count += 1;
      this.config.view.setUint32(wire.CONFIG.event, count, true);
      host.configChanged();
      // A process that was held up does not make up for it in a burst.
      due = Math.max(due + this.#every, host.clock.now());
      alarm.set(due);
    });
    alarm.set(due);
  }

  queueNotified(queue: DeviceQueue): void {
    for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
      if (chain.readable > MAX_COUNTERS * wire.COUNTER_SIZE) {
        this.host.warn(`${chain.readable} bytes of counters at once: not printed`);
        chain.skip(chain.readable);
      }
      while (chain.read(this.#counter) === wire.COUNTER_SIZE) {
        this.host.print(`=========get virtio num:${new DataView(this.#counter.buffer).getInt32(0, true)}`);
      }
      queue.push(chain);
    }
  }
}
