import type { Abortable } from '../../virtio/abortable.js';
import type { BufferQueue } from '../../virtio/buffer-queue.js';
import { aSignal, checkOptions } from '../../virtio/check-options.js';
import { described } from '../../virtio/described.js';
import { type Driver, openDriver } from '../../virtio/driver.js';
import type { DriverTransport } from '../../virtio/driver-transport.js';
import { le64 } from '../../virtio/struct.js';
import { MiscError } from './misc-error.js';
import * as wire from './wire.js';

/** A callback of a timer. `expirations` is 1, or for a periodic timer what came together since the last call. */
export type TimerCallback<C> = (context: C, expirations: number) => void;

/** What a periodic or nanosecond timer is set with. */
export interface TimerTimes {
  /** ns to the first expiry, 0 to 2^64 - 1. */
  readonly delay: number;
  /** ns between expiries; 0, the default, for a single one. */
  readonly interval?: number;
}

/** A timer that was set. */
export interface Timer {
  /** The request id on the wire. */
  readonly id: number;
  /**
   * Cancels it. The callback does not run any more from the moment of the call.
   *
   * @returns whether the timer still was to expire.
   */
  cancel(): Promise<boolean>;
  /** `await using timer = await driver.setTimer(...)`: cancels it. */
  [Symbol.asyncDispose](): Promise<void>;
}

interface ArmedTimer {
  readonly periodic: boolean;
  readonly expired: (expirations: number) => void;
}

/** Buffers that are posted for notifications; the device keeps what does not fit until one is posted again. */
const NOTIFY_BUFFERS = 64;
/** Longest delay of SET_TIMER, ms. */
const MOST_MS = 0xffff_ffff;

/** The driver of virtio-misc, over any transport. */
export class MiscDriver {
  /** Timers that the device can hold at a time. */
  readonly maxTimers: number;
  readonly #driver: Driver;
  readonly #controlq: BufferQueue;
  readonly #timers = new Map<number, ArmedTimer>();
  #nextId = 1;

  /**
   * Negotiates with the device and makes it ready (VIRTIO 1.3 §3.1).
   *
   * @param options - with a signal, the wait ends when that is aborted, and the transport is closed.
   * @throws TransportError when there is another device, or it refuses.
   */
  static async open(transport: DriverTransport, options: Abortable = {}): Promise<MiscDriver> {
    const driver = await openDriver(transport, {
      ...options,
      id: wire.VIRTIO_ID_MISC,
      features: wire.VIRTIO_MISC_F_CANCEL | wire.VIRTIO_MISC_F_PERIODIC | wire.VIRTIO_MISC_F_NSEC,
      queues: 2,
    });
    const config = await driver.readConfig(0, wire.CONFIG.size);
    return new MiscDriver(driver, new DataView(config.buffer).getUint32(wire.CONFIG.max_timers, true));
  }

  private constructor(driver: Driver, maxTimers: number) {
    this.#driver = driver;
    this.maxTimers = maxTimers;
    this.#controlq = driver.queues[wire.CONTROLQ]!;
    const notifyq = driver.queues[wire.NOTIFYQ]!;
    for (let i = Math.min(NOTIFY_BUFFERS, notifyq.size); i > 0; i--) this.#post(notifyq);
  }

  /** Resolves, once the device is lost or broken, with why; every call that waits rejects with it too. */
  get failure(): Promise<Error> {
    return this.#driver.failure;
  }

  /** Timers that are set and have not expired. */
  get armed(): number {
    return this.#timers.size;
  }

  /**
   * Sets a timer: `func(context)` is called once, `delay` ms from now or a little later, never earlier.
   *
   * @param delay - whole ms, 0 to 2^32 - 1.
   * @param options - with a signal, the timer is cancelled when that is aborted.
   * @throws RangeError for another delay; TypeError for a `func` that is no function; MiscError when the device refuses; TransportError when it is lost.
   */
  async setTimer<C>(delay: number, func: TimerCallback<C>, context: C, options?: Abortable): Promise<Timer> {
    checkCallback('setTimer', func, options);
    if (!Number.isInteger(delay) || delay < 0 || delay > MOST_MS) {
      throw new RangeError(`a delay is a whole number of ms from 0 to ${MOST_MS}, not ${delay}`);
    }
    const { type, delay_ms, request_id, size } = wire.SET_TIMER;
    return this.#set(false, func, context, size, options?.signal, (request, id) => {
      request.setUint32(type, wire.VIRTIO_MISC_SET_TIMER, true);
      request.setUint32(delay_ms, delay, true);
      request.setUint32(request_id, id, true);
    });
  }

  /**
   * Sets a timer in ns, periodic if there is an interval.
   *
   * @throws RangeError for impossible times; MiscError `UNSUPPORTED` when the device did not offer NSEC (or PERIODIC).
   */
  async startTimer<C>(
    { delay, interval = 0 }: TimerTimes,
    func: TimerCallback<C>,
    context: C,
    options?: Abortable,
  ): Promise<Timer> {
    checkCallback('startTimer', func, options);
    for (const time of [delay, interval]) {
      if (!Number.isInteger(time) || time < 0 || time >= 2 ** 64) {
        throw new RangeError(`a time is a whole number of ns from 0 to 2^64 - 1, not ${time}`);
      }
    }
    const needed = wire.VIRTIO_MISC_F_NSEC | (interval > 0 ? wire.VIRTIO_MISC_F_PERIODIC : 0n);
    if ((this.#driver.features & needed) !== needed) throw new MiscError('UNSUPPORTED');
    const { type, request_id, delay_ns, interval_ns, size } = wire.SET_TIMER_NS;
    return this.#set(interval > 0, func, context, size, options?.signal, (request, id) => {
      request.setUint32(type, wire.VIRTIO_MISC_SET_TIMER_NS, true);
      request.setUint32(request_id, id, true);
      le64.write(request, delay_ns, delay);
      le64.write(request, interval_ns, interval);
    });
  }

  /**
   * The expirations of a timer as they come: `for await (const expirations of driver.expirations({...}))`. Leaving the loop
   * cancels the timer. Ends by itself after the one expiry of a timer without interval; with a signal, throws its reason when that is aborted.
   */
  async *expirations(times: TimerTimes, { signal }: Abortable = {}): AsyncGenerator<number, void, void> {
    let ready = 0;
    let failure: Error | undefined;
    let wake: () => void = () => {};
    void this.failure.then((error) => {
      failure = error;
      wake();
    });
    const count = (_: undefined, expirations: number): void => {
      ready += expirations;
      wake();
    };
    signal?.throwIfAborted();
    const timer = await this.startTimer(times, count, undefined);
    const abort = (): void => wake();
    signal?.addEventListener('abort', abort, { once: true });
    try {
      for (;;) {
        while (ready === 0) {
          if (failure !== undefined) throw failure;
          signal?.throwIfAborted();
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
        const expirations = ready;
        ready = 0;
        yield expirations;
        if ((times.interval ?? 0) === 0) return;
      }
    } finally {
      signal?.removeEventListener('abort', abort);
      if (failure === undefined) await timer.cancel();
    }
  }

  /** Resets the device and lets it go; timers that are set are dropped. Safe to call twice. */
  async close(): Promise<void> {
    this.#timers.clear();
    await this.#driver.close();
  }

  /** `await using driver = await MiscDriver.open(...)`: closes it. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #set<C>(
    periodic: boolean,
    func: TimerCallback<C>,
    context: C,
    size: number,
    signal: AbortSignal | undefined,
    fill: (request: DataView, id: number) => void,
  ): Promise<Timer> {
    signal?.throwIfAborted();
    const id = this.#freeId();
    const request = new Uint8Array(size);
    fill(new DataView(request.buffer), id);
    // Before the request goes out: with no delay the expiry may come in before the answer.
    // What it fails with, if the device is lost, is told by `failure`.
    const abort = (): void => void this.#cancel(id).catch(() => {});
    const expired = (expirations: number): void => {
      if (!periodic) signal?.removeEventListener('abort', abort);
      func(context, expirations);
    };
    this.#timers.set(id, { periodic, expired });
    try {
      await this.#request(request);
    } catch (error) {
      this.#timers.delete(id);
      throw error;
    }
    const cancel = (): Promise<boolean> => {
      signal?.removeEventListener('abort', abort);
      return this.#cancel(id);
    };
    if (signal?.aborted === true) {
      await cancel();
      throw signal.reason;
    }
    if (this.#timers.has(id)) signal?.addEventListener('abort', abort, { once: true });
    return {
      id,
      cancel,
      async [Symbol.asyncDispose]() {
        await cancel();
      },
    };
  }

  async #cancel(id: number): Promise<boolean> {
    if (!this.#timers.delete(id)) return false;
    if ((this.#driver.features & wire.VIRTIO_MISC_F_CANCEL) === 0n) return true;
    const request = new Uint8Array(wire.CANCEL_TIMER.size);
    const view = new DataView(request.buffer);
    view.setUint32(wire.CANCEL_TIMER.type, wire.VIRTIO_MISC_CANCEL_TIMER, true);
    view.setUint32(wire.CANCEL_TIMER.request_id, id, true);
    try {
      await this.#request(request);
      return true;
    } catch (error) {
      // It expired meanwhile, and its notification is on the way: the callback does not run all the same.
      if (error instanceof MiscError && error.code === 'NOT_FOUND') return false;
      throw error;
    }
  }

  /** @throws MiscError when the device answers with another status than OK, or with none. */
  async #request(request: Uint8Array): Promise<void> {
    const answer = await this.#controlq.request(request, wire.STATUS_SIZE);
    if (answer.length < wire.STATUS_SIZE) throw new MiscError('BAD_STATUS');
    const error = MiscError.of(new DataView(answer.buffer, answer.byteOffset).getUint32(0, true));
    if (error !== undefined) throw error;
  }

  #post(notifyq: BufferQueue): void {
    notifyq.post(wire.NOTIFICATION.sizeWithCount, (notification) => {
      // First, so that a callback that throws takes no buffer away.
      this.#post(notifyq);
      this.#notified(notification);
    });
  }

  /** A notification that makes no sense, or of a timer that was cancelled, is nobody's. */
  #notified(notification: Uint8Array): void {
    if (notification.length < wire.NOTIFICATION.size) return;
    const view = new DataView(notification.buffer, notification.byteOffset, notification.length);
    if (view.getUint32(wire.NOTIFICATION.type, true) !== wire.VIRTIO_MISC_TIMER_EXPIRED) return;
    const id = view.getUint32(wire.NOTIFICATION.request_id, true);
    const timer = this.#timers.get(id);
    if (timer === undefined) return;
    if (!timer.periodic) this.#timers.delete(id);
    const counted = notification.length >= wire.NOTIFICATION.sizeWithCount;
    timer.expired(counted ? le64.read(view, wire.NOTIFICATION.expirations) : 1);
  }

  #freeId(): number {
    while (this.#timers.has(this.#nextId)) this.#nextId = (this.#nextId + 1) >>> 0;
    const id = this.#nextId;
    this.#nextId = (id + 1) >>> 0;
    return id;
  }
}

/** @throws TypeError */
function checkCallback(where: string, func: unknown, options: Abortable | undefined): void {
  if (typeof func !== 'function')
    throw new TypeError(`${where} takes a function to call, not ${described(func)}`);
  if (options !== undefined) checkOptions(options, where, { signal: aSignal });
}
