import type { BufferQueue } from '../../virtio/buffer-queue.js';
import { type Driver, openDriver } from '../../virtio/driver.js';
import { type DriverTransport, TransportError } from '../../virtio/driver-transport.js';
import * as wire from './wire.js';

/** The configuration space of virtio-test. */
export interface TestConfig {
  readonly num_pages: number;
  readonly actual: number;
  readonly event: number;
}

/** The driver of virtio-test, over any transport. */
export class TestDriver {
  /** `events` when the device pushes config changes. */
  readonly variant: 'echo' | 'events';
  readonly #driver: Driver;
  readonly #queue: BufferQueue;
  #count = 0;

  /**
   * Negotiates with the device and makes it ready (VIRTIO 1.3 §3.1).
   *
   * @throws TransportError when there is another device, or it refuses.
   */
  static async open(transport: DriverTransport): Promise<TestDriver> {
    const features = wire.VIRTIO_TEST_F_CAN_PRINT | wire.VIRTIO_TEST_F_EVENTS;
    const driver = await openDriver(transport, { id: wire.VIRTIO_ID_TEST, features, queues: 1 });
    if ((driver.features & wire.VIRTIO_TEST_F_CAN_PRINT) === 0n) {
      await driver.close();
      throw new TransportError(
        'REFUSED',
        'the device does not offer VIRTIO_TEST_F_CAN_PRINT: it has no queue to use',
      );
    }
    return new TestDriver(driver);
  }

  private constructor(driver: Driver) {
    this.#driver = driver;
    this.#queue = driver.queues[0]!;
    this.variant = (driver.features & wire.VIRTIO_TEST_F_EVENTS) === 0n ? 'echo' : 'events';
  }

  /** Resolves, once the device is lost or broken, with why; every call that waits rejects with it too. */
  get failure(): Promise<Error> {
    return this.#driver.failure;
  }

  /**
   * `echo`: makes one request. Many may be under way at once.
   *
   * @throws TransportError when the device is lost, or its answer is shorter than a response (`PROTOCOL`).
   */
  async request(request: wire.TestRequest): Promise<wire.TestResponse> {
    const answer = await this.#queue.request(wire.encodeRequest(request), wire.RESPONSE.size);
    if (answer.length < wire.RESPONSE.size) {
      throw new TransportError(
        'PROTOCOL',
        `a response has ${wire.RESPONSE.size} bytes, not ${answer.length}`,
      );
    }
    return wire.decodeResponse(answer);
  }

  /** What the program `virtio N` does: type N, arguments N + 1 to N + 3, each of 8 bits. */
  async write(number: number): Promise<wire.TestResponse> {
    const byte = (offset: number): number => (number + offset) & 0xff;
    return this.request({
      type: byte(0),
      arg1: byte(1),
      arg2: byte(2),
      arg3: byte(3),
      arg4: 'hello back end!',
    });
  }

  /** `events`: calls back with each config change, and answers it with a counter that starts at 1. */
  onConfigChange(changed: (count: number) => void): void {
    this.#driver.onConfigChange(() => {
      this.#count += 1;
      const counter = new Uint8Array(wire.COUNTER_SIZE);
      new DataView(counter.buffer).setUint32(0, this.#count, true);
      const count = this.#count;
      // A device that is lost says so through `failure`.
      this.#queue.request(counter, 0).then(
        () => changed(count),
        () => {},
      );
    });
  }

  async readConfig(): Promise<TestConfig> {
    const bytes = await this.#driver.readConfig(0, wire.CONFIG.size);
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    return {
      num_pages: view.getUint32(wire.CONFIG.num_pages, true),
      actual: view.getUint32(wire.CONFIG.actual, true),
      event: view.getUint32(wire.CONFIG.event, true),
    };
  }

  /** Writes all three fields. */
  async writeConfig(config: TestConfig): Promise<void> {
    const bytes = new Uint8Array(wire.CONFIG.size);
    const view = new DataView(bytes.buffer);
    view.setUint32(wire.CONFIG.num_pages, config.num_pages, true);
    view.setUint32(wire.CONFIG.actual, config.actual, true);
    view.setUint32(wire.CONFIG.event, config.event, true);
    await this.#driver.writeConfig(0, bytes);
  }

  /** Resets the device and lets it go. Safe to call twice. */
  async close(): Promise<void> {
    await this.#driver.close();
  }
}
