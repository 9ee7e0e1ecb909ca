import type { GuestAllocator } from '../memory/guest-allocator.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import type { DriverQueue } from '../virtqueue/driver-queue.js';
import { type Abortable, abortable } from './abortable.js';
import { TransportError } from './driver-transport.js';
import { type Exchange, Exchanges, type Taker } from './exchange.js';
import { Fifo } from './fifo.js';
import type { Layout } from './layout.js';
import { Struct } from './struct.js';

/** What waits for room in the ring. */
interface Waiting {
  /** Of its own. */
  readonly request: Uint8Array;
  readonly room: number;
  readonly taker: Taker;
}

/** Chains that are taken in one turn, in multiples of the queue's size, before others have theirs. */
const TURN = 2;

/** Bytes that are kept for the next copy. */
const SCRATCH_MOST = 65_536;
const NOTHING = new Uint8Array();

/** A microtask of it costs a fraction of `queueMicrotask`. */
const settled: Promise<void> = Promise.resolve();

/**
 * One queue as a driver uses it: whole messages of its own memory in, whole answers out. They are copied to and from the
 * memory that the device sees, so nothing that the device does later changes an answer.
 */
export class BufferQueue {
  /** Tells the device that buffers are available, and up to which place. The transport's. */
  kick: (nextPlace: number) => void = () => {};
  #ring: DriverQueue<Exchange>;
  readonly #memory: GuestMemory;
  readonly #exchanges: Exchanges;
  #waiting = new Fifo<Waiting>();
  /** Of the request, and of the answer, that is just being copied. */
  #scratch = new Uint8Array(64);
  #publishing = false;
  /** Nothing is made available for now: all waits. */
  #held = false;
  #error: Error | undefined;
  readonly #broken: (error: Error) => void;

  /** @param broken - hears once when the device broke a rule of the ring. */
  constructor(
    ring: DriverQueue<Exchange>,
    memory: GuestMemory,
    allocator: GuestAllocator,
    broken: (error: Error) => void,
  ) {
    this.#ring = ring;
    this.#memory = memory;
    this.#exchanges = new Exchanges(allocator);
    this.#broken = broken;
  }

  /** Number of descriptors. */
  get size(): number {
    return this.#ring.size;
  }

  /**
   * Sends a request and waits for the answer. Many may be under way; what does not fit into the ring waits its turn.
   *
   * @param request - copied before this returns.
   * @param room - bytes for the answer; 0 when there is none.
   * @param options - with a signal, the wait ends when that is aborted; the request stays with the device, and its answer is nobody's.
   * @returns what the device wrote: `room` bytes or less.
   */
  request(request: Uint8Array, room: number, options?: Abortable): Promise<Uint8Array> {
    if (options?.signal?.aborted === true) return Promise.reject(options.signal.reason);
    const answered = new Promise<Uint8Array>((resolve, reject) => {
      this.#submit(request, request.length, room, {
        answered: (answer, length) => resolve(answer.slice(0, length)),
        failed: reject,
      });
    });
    return options === undefined ? answered : abortable(answered, options.signal);
  }

  /**
   * Sends a request of one shape and waits for an answer of another, likewise.
   *
   * @throws what the values can't be encoded for; TransportError `PROTOCOL` when the device wrote less than a whole answer.
   */
  call<Q, R>(request: Layout<Q>, values: Partial<Q>, response: Layout<R>, options?: Abortable): Promise<R> {
    if (options?.signal?.aborted === true) return Promise.reject(options.signal.reason);
    const answered = new Promise<R>((resolve, reject) => {
      // What this throws rejects.
      const size = request.sizeOf(values as Q);
      const bytes = this.#scratchOf(size);
      if (request instanceof Struct) request.encodeInto(values as object, bytes);
      else bytes.set(request.encode(values as Q));
      this.#submit(bytes, size, response.most, new Call(response, resolve, reject));
    });
    return options === undefined ? answered : abortable(answered, options.signal);
  }

  /**
   * Gives the device a buffer to write into whenever it likes.
   *
   * @param done - gets what the device wrote; not called when the device is lost.
   */
  post(room: number, done: (written: Uint8Array) => void): void {
    this.#submit(NOTHING, 0, room, {
      answered: (answer, length) => done(answer.slice(0, length)),
      failed: () => {},
      posted: true,
    });
  }

  /** What is sent from now on waits until `goOn`. What was sent before is made available. For the driver to call, as what follows. */
  hold(): void {
    if (this.#publishing) this.#show();
    this.#held = true;
  }

  /** The device forgot what it was given: after its last answers, requests fail with this error, and room that was posted waits to be posted again. */
  forgotten(error: Error): void {
    this.interrupted();
    if (this.#error !== undefined) return;
    const later = this.#waiting;
    this.#waiting = new Fifo();
    for (const exchange of this.#ring.detach()) {
      const taker = this.#exchanges.release(exchange);
      if (taker.posted === true)
        this.#waiting.push({ request: NOTHING, room: exchange.writable[0]!.length, taker });
      else taker.failed(error);
    }
    for (let next = later.shift(); next !== undefined; next = later.shift()) this.#waiting.push(next);
  }

  /** @param ring - a new one, after `forgotten`. */
  goOn(ring: DriverQueue<Exchange> = this.#ring): void {
    this.#ring = ring;
    this.#held = false;
    if (this.#error === undefined) this.#fill();
    else ring.detach();
  }

  /** The device used buffers, or may have. For the transport to call. */
  interrupted(): void {
    if (this.#error !== undefined) return;
    try {
      let left = TURN * this.#ring.size;
      do {
        this.#ring.disableInterrupts();
        for (let used = this.#ring.reap(); used !== undefined; used = this.#ring.reap()) {
          this.#finish(used.token, used.written);
          left -= 1;
        }
      } while (this.#ring.enableInterrupts() && left > 0);
      // A device that is never done must not keep the process to itself.
      if (left <= 0) setTimeout(() => this.interrupted(), 0);
    } catch (error) {
      this.#broken(error as Error);
      return;
    }
    if (this.#waiting.size > 0 && !this.#held) this.#fill();
  }

  /** The device is lost: everything outstanding rejects, and everything that comes later. */
  fail(error: Error): void {
    if (this.#error !== undefined) return;
    this.#error = error;
    for (const exchange of this.#ring.detach()) this.#exchanges.release(exchange).failed(error);
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      next.taker.failed(error);
    }
    this.#exchanges.free();
  }

  /** @param request - copied before this returns, its first `length` bytes. */
  #submit(request: Uint8Array, length: number, room: number, taker: Taker): void {
    if (this.#error !== undefined) taker.failed(this.#error);
    else if (this.#held || this.#waiting.size > 0 || !this.#add(request, length, room, taker)) {
      this.#waiting.push({ request: request.slice(0, length), room, taker });
    }
  }

  /** @returns whether it need not wait: it is with the device now, or failed. */
  #add(request: Uint8Array, length: number, room: number, taker: Taker): boolean {
    if (this.#ring.free === 0) return false;
    let exchange: Exchange;
    try {
      exchange = this.#exchanges.take(length, room);
    } catch (error) {
      // What is with the device will come back and make room.
      if (this.#ring.inFlight > 0) return false;
      taker.failed(error as RangeError);
      return true;
    }
    exchange.taker = taker;
    if (length > 0) this.#memory.write(exchange.request, request, 0, length);
    try {
      if (!this.#ring.add(exchange.readable, exchange.writable, exchange)) {
        this.#exchanges.release(exchange);
        return false;
      }
    } catch (error) {
      this.#exchanges.release(exchange).failed(error as Error);
      return true;
    }
    this.#publishSoon();
    return true;
  }

  /** All that is sent in one turn is shown to the device at once, with one kick. */
  #publishSoon(): void {
    if (this.#publishing) return;
    this.#publishing = true;
    void settled.then(this.#publish);
  }

  readonly #publish = (): void => {
    // `hold` may have been before it.
    if (this.#publishing) this.#show();
  };

  #show(): void {
    this.#publishing = false;
    if (this.#ring.publish()) this.kick(this.#ring.nextPlace);
  }

  #finish(exchange: Exchange, written: number): void {
    const answer = this.#scratchOf(written);
    if (written > 0) this.#memory.read(exchange.answer, answer, 0, written);
    const taker = this.#exchanges.release(exchange);
    try {
      taker.answered(answer, written);
    } catch (error) {
      // A callback's own failure is its caller's affair, as with setTimeout: it takes nothing from this queue.
      queueMicrotask(() => {
        throw error;
      });
    }
  }

  /** Bytes to copy through: at least so many. */
  #scratchOf(length: number): Uint8Array {
    if (length <= this.#scratch.length) return this.#scratch;
    const longer = new Uint8Array(length);
    if (length <= SCRATCH_MOST) this.#scratch = longer;
    return longer;
  }

  #fill(): void {
    for (let next = this.#waiting.first; next !== undefined; next = this.#waiting.first) {
      if (!this.#add(next.request, next.request.length, next.room, next.taker)) return;
      this.#waiting.shift();
    }
  }
}

/** Waits for an answer of one shape. */
class Call<R> implements Taker {
  readonly #response: Layout<R>;
  readonly #resolve: (values: R) => void;
  readonly failed: (error: Error) => void;

  constructor(response: Layout<R>, resolve: (values: R) => void, failed: (error: Error) => void) {
    this.#response = response;
    this.#resolve = resolve;
    this.failed = failed;
  }

  answered(answer: Uint8Array, length: number): void {
    const { size, most } = this.#response;
    if (length < size) this.#short(`a response has ${size} bytes, not ${length}`);
    else if (size === most) this.#resolve(this.#response.decode(answer));
    else this.#decode(answer.subarray(0, length));
  }

  #decode(answer: Uint8Array): void {
    let values: R;
    try {
      values = this.#response.decode(answer);
    } catch (error) {
      this.#short((error as Error).message);
      return;
    }
    this.#resolve(values);
  }

  #short(message: string): void {
    this.failed(new TransportError('PROTOCOL', message));
  }
}
