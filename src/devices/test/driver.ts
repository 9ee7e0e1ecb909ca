import type { Abortable } from '../../virtio/abortable.js';
import type { BufferQueue } from '../../virtio/buffer-queue.js';
import { described } from '../../virtio/described.js';
import { type Driver, openDriver } from '../../virtio/driver.js';
import { type DriverTransport, TransportError } from '../../virtio/driver-transport.js';
import {
  Config,
  Counter,
  FEATURES,
  Request,
  Response,
  type TestConfig,
  type TestRequest,
  type TestResponse,
  VIRTIO_ID_TEST,
} from './wire.js';

const CAN_PRINT = 1n << BigInt(FEATURES.CAN_PRINT);
const EVENTS = 1n << BigInt(FEATURES.EVENTS);

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
   * @param options - with a signal, the wait ends when that is aborted, and the transport is closed.
   * @throws TransportError when there is another device, or it refuses.
   */
  static async open(transport: DriverTransport, options: Abortable = {}): Promise<TestDriver> {
    const features = CAN_PRINT | EVENTS;
    const driver = await openDriver(transport, { ...options, id: VIRTIO_ID_TEST, features, queues: 1 });
    if ((driver.features & CAN_PRINT) === 0n) {
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
    this.variant = (driver.features & EVENTS) === 0n ? 'echo' : 'events';
  }

  /** Resolves, once the device is lost or broken, with why; every call that waits rejects with it too. */
  get failure(): Promise<Error> {
    return this.#driver.failure;
  }

  /**
   * `echo`: makes one request. Many may be under way at once.
   *
   * @throws TypeError for a request with fields that are missing, unknown or of another type; TransportError when the device is lost, or its answer is shorter than a response (`PROTOCOL`).
   */
  request(request: TestRequest, options?: Abortable): Promise<TestResponse> {
    const problem = Request.problem(request);
    if (problem !== undefined) return Promise.reject(new TypeError(`a request can't be sent: ${problem}`));
    return this.#queue.call(Request, request, Response, options);
  }

  /** What the program `virtio N` does: type N, arguments N + 1 to N + 3, each of 8 bits. */
  async write(number: number, options?: Abortable): Promise<TestResponse> {
    const byte = (offset: number): number => (number + offset) & 0xff;
    const request = { type: byte(0), arg1: byte(1), arg2: byte(2), arg3: byte(3), arg4: 'hello back end!' };
    return this.request(request, options);
  }

  /** `events`: calls back with each config change, and answers it with a counter that starts at 1. */
  onConfigChange(changed: (count: number) => void): void {
    if (typeof changed !== 'function')
      throw new TypeError(`onConfigChange takes a function, not ${described(changed)}`);
    this.#driver.onConfigChange(() => {
      this.#count += 1;
      const count = this.#count;
      // A device that is lost says so through `failure`.
      this.#queue.request(Counter.encode({ num: count }), 0).then(
        () => changed(count),
        () => {},
      );
    });
  }

  async readConfig(): Promise<TestConfig> {
    return Config.decode(await this.#driver.readConfig(0, Config.size));
  }

  /** Writes all three fields. */
  writeConfig(config: TestConfig): Promise<void> {
    return this.#driver.writeConfig(0, Config.encode(config));
  }

  /** Resets the device and lets it go. Safe to call twice. */
  async close(): Promise<void> {
    await this.#driver.close();
  }

  /** `await using driver = await TestDriver.open(...)`: closes it. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
