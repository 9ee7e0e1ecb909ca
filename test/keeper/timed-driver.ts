import assert from 'node:assert/strict';
import * as wire from '../../src/devices/misc/wire.js';
import { type Driver, openDriver } from '../../src/virtio/driver.js';
import type { DriverTransport } from '../../src/virtio/driver-transport.js';

interface Timer {
  /** ms of this process, and from when the request was sent. */
  readonly due: number;
  told: number;
  cancelled: boolean;
}

/** A driver of virtio-misc that counts what it is told, also what it should not be told. */
export class TimedDriver {
  /** What was told too early, twice, after a cancel, or was never set. */
  readonly wrong: string[] = [];
  readonly #driver: Driver;
  readonly #timers = new Map<number, Timer>();
  #waiting = 0;
  #settled: () => void = () => {};

  static async open(transport: DriverTransport, queueSize = 16): Promise<TimedDriver> {
    const features = wire.VIRTIO_MISC_F_CANCEL | wire.VIRTIO_MISC_F_PERIODIC | wire.VIRTIO_MISC_F_NSEC;
    return new TimedDriver(
      await openDriver(transport, { id: wire.VIRTIO_ID_MISC, features, queues: 2, queueSize }),
    );
  }

  private constructor(driver: Driver) {
    this.#driver = driver;
    for (let i = 0; i < driver.queues[wire.NOTIFYQ]!.size; i++) this.#post();
  }

  /** Sets a timer of a new id. @returns the status. */
  async set(id: number, ms: number): Promise<number> {
    this.#timers.set(id, { due: performance.now() + ms, told: 0, cancelled: false });
    this.#waiting += 1;
    return this.#ask(wire.VIRTIO_MISC_SET_TIMER, ms, id);
  }

  /** @returns the status. */
  async cancel(id: number): Promise<number> {
    const status = await this.#ask(wire.VIRTIO_MISC_CANCEL_TIMER, 0, id);
    const timer = this.#timers.get(id)!;
    if (status === wire.STATUS.OK) {
      timer.cancelled = true;
      if (timer.told > 0) this.wrong.push(`timer ${id} was told of and cancelled`);
      this.#isOver();
    }
    return status;
  }

  /** Resolves when all timers that were set were told of or cancelled. */
  async over(): Promise<void> {
    while (this.#waiting > 0)
      await new Promise<void>((resolve) => {
        this.#settled = resolve;
      });
  }

  /** Waits for what comes too often, as long as a request takes; then nothing was wrong. */
  async check(): Promise<void> {
    await this.over();
    assert.equal(await this.#ask(wire.VIRTIO_MISC_CANCEL_TIMER, 0, 0xffff_ffff), wire.STATUS.NOT_FOUND);
    assert.deepEqual(this.wrong, []);
  }

  close(): Promise<void> {
    return this.#driver.close();
  }

  async #ask(...words: number[]): Promise<number> {
    const request = new Uint8Array(Uint32Array.from(words).buffer);
    const answer = await this.#driver.queues[wire.CONTROLQ]!.request(request, wire.STATUS_SIZE);
    assert.equal(answer.length, wire.STATUS_SIZE);
    return new DataView(answer.buffer, answer.byteOffset).getUint32(0, true);
  }

  #post(): void {
    this.#driver.queues[wire.NOTIFYQ]!.post(wire.NOTIFICATION.sizeWithCount, (bytes) => {
      this.#told(bytes);
      this.#post();
    });
  }

  #told(bytes: Uint8Array): void {
    const id = new DataView(bytes.buffer, bytes.byteOffset).getUint32(wire.NOTIFICATION.request_id, true);
    const timer = this.#timers.get(id);
    if (bytes.length !== wire.NOTIFICATION.sizeWithCount || timer === undefined) {
      this.wrong.push(`${bytes.length} bytes tell of timer ${id}`);
      return;
    }
    const early = timer.due - performance.now();
    if (early > 0) this.wrong.push(`timer ${id} is ${early} ms early`);
    timer.told += 1;
    if (timer.told > 1) this.wrong.push(`timer ${id} was told of ${timer.told} times`);
    if (timer.cancelled) this.wrong.push(`timer ${id} was cancelled, and told of`);
    this.#isOver();
  }

  #isOver(): void {
    this.#waiting -= 1;
    if (this.#waiting === 0) this.#settled();
  }
}
