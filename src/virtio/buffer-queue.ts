import type { GuestAllocator, GuestBuffer } from '../memory/guest-allocator.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import type { SplitDriverQueue } from '../virtqueue/split/driver.js';

/** One chain that is with the device, or waits for room in the ring. */
interface Exchange {
  readonly request: Uint8Array;
  /** Device-writable bytes. */
  readonly room: number;
  readonly done: (response: Uint8Array) => void;
  readonly failed: (error: Error) => void;
  buffers: GuestBuffer[];
}

/** Chains that are taken in one turn, in multiples of the queue's size, before others have theirs. */
const TURN = 2;

/**
 * One queue as a driver uses it: whole messages of its own memory in, whole answers out. They are copied to and from the
 * memory that the device sees, so nothing that the device does later changes an answer.
 */
export class BufferQueue {
  /** Tells the device that buffers are available. The transport's. */
  kick: () => void = () => {};
  readonly #ring: SplitDriverQueue<Exchange>;
  readonly #memory: GuestMemory;
  readonly #allocator: GuestAllocator;
  readonly #waiting: Exchange[] = [];
  /** Buffers that were used before, by length: a driver's messages are of few lengths. */
  readonly #spare = new Map<number, GuestBuffer[]>();
  #publishing = false;
  #error: Error | undefined;
  readonly #broken: (error: Error) => void;

  /** @param broken - hears once when the device broke a rule of the ring. */
  constructor(
    ring: SplitDriverQueue<Exchange>,
    memory: GuestMemory,
    allocator: GuestAllocator,
    broken: (error: Error) => void,
  ) {
    this.#ring = ring;
    this.#memory = memory;
    this.#allocator = allocator;
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
   * @returns what the device wrote: `room` bytes or less.
   */
  request(request: Uint8Array, room: number): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      this.#submit({ request: request.slice(), room, done: resolve, failed: reject, buffers: [] });
    });
  }

  /**
   * Gives the device a buffer to write into whenever it likes.
   *
   * @param done - gets what the device wrote; not called when the device is lost.
   */
  post(room: number, done: (written: Uint8Array) => void): void {
    this.#submit({ request: new Uint8Array(), room, done, failed: () => {}, buffers: [] });
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
    this.#fill();
  }

  /** The device is lost: everything outstanding rejects, and everything that comes later. */
  fail(error: Error): void {
    if (this.#error !== undefined) return;
    this.#error = error;
    const lost = [...this.#ring.detach(), ...this.#waiting.splice(0)];
    for (const exchange of lost) {
      this.#release(exchange);
      exchange.failed(error);
    }
    this.#freeSpare();
  }

  #submit(exchange: Exchange): void {
    if (this.#error !== undefined) exchange.failed(this.#error);
    else if (this.#waiting.length > 0 || !this.#add(exchange)) this.#waiting.push(exchange);
  }

  /** @returns whether it need not wait: it is with the device now, or failed. */
  #add(exchange: Exchange): boolean {
    if (this.#ring.free === 0) return false;
    const { request, room } = exchange;
    try {
      if (request.length > 0) exchange.buffers.push(this.#take(request.length));
      if (room > 0) exchange.buffers.push(this.#take(room));
    } catch (error) {
      this.#release(exchange);
      // What is with the device will come back and make room.
      if (this.#ring.inFlight > 0) return false;
      exchange.failed(error as RangeError);
      return true;
    }
    const readable = request.length > 0 ? exchange.buffers.slice(0, 1) : [];
    if (request.length > 0) this.#memory.write(exchange.buffers[0]!.address, request);
    if (!this.#ring.add(readable, room > 0 ? exchange.buffers.slice(-1) : [], exchange)) {
      this.#release(exchange);
      return false;
    }
    this.#publishSoon();
    return true;
  }

  /** @throws RangeError when there is no room. */
  #take(length: number): GuestBuffer {
    const spare = this.#spare.get(length)?.pop();
    if (spare !== undefined) return spare;
    try {
      return this.#allocator.alloc(length);
    } catch {
      this.#freeSpare();
      return this.#allocator.alloc(length);
    }
  }

  #release(exchange: Exchange): void {
    for (const buffer of exchange.buffers) {
      const spare = this.#spare.get(buffer.length);
      if (spare === undefined) this.#spare.set(buffer.length, [buffer]);
      else spare.push(buffer);
    }
    exchange.buffers = [];
  }

  #freeSpare(): void {
    for (const spare of this.#spare.values()) for (const buffer of spare) this.#allocator.free(buffer);
    this.#spare.clear();
  }

  /** All that is sent in one turn is shown to the device at once, with one kick. */
  #publishSoon(): void {
    if (this.#publishing) return;
    this.#publishing = true;
    queueMicrotask(() => {
      this.#publishing = false;
      if (this.#ring.publish()) this.kick();
    });
  }

  #finish(exchange: Exchange, written: number): void {
    const answer = new Uint8Array(written);
    if (written > 0) this.#memory.read(exchange.buffers.at(-1)!.address, answer);
    this.#release(exchange);
    try {
      exchange.done(answer);
    } catch (error) {
      // A callback's own failure is its caller's affair, as with setTimeout: it takes nothing from this queue.
      queueMicrotask(() => {
        throw error;
      });
    }
  }

  #fill(): void {
    let sent = 0;
    while (sent < this.#waiting.length && this.#add(this.#waiting[sent]!)) sent += 1;
    if (sent > 0) this.#waiting.splice(0, sent);
  }
}
