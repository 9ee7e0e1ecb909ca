import type { GuestAddress } from '../memory/address.js';
import type { GuestAllocator, GuestBuffer } from '../memory/guest-allocator.js';

/** Who waits for an answer. One of the two is called, once. */
export interface Taker {
  /** @param answer - what the device wrote is its first `length` bytes, until this returns. */
  answered(answer: Uint8Array, length: number): void;
  failed(error: Error): void;
  /** It gave room without a request: a device that forgot it can be given it again. */
  readonly posted?: boolean;
}

/** A request and the room for its answer, as they lie in guest memory: used again and again. */
export class Exchange {
  readonly readable: readonly GuestBuffer[];
  readonly writable: readonly GuestBuffer[];
  /** While it is with the device. */
  taker: Taker | undefined;

  constructor(readable: readonly GuestBuffer[], writable: readonly GuestBuffer[]) {
    this.readable = readable;
    this.writable = writable;
  }

  /** Where the request is, if it has a byte. */
  get request(): GuestAddress {
    return this.readable[0]!.address;
  }

  /** Where the answer will be, if it has room. */
  get answer(): GuestAddress {
    return this.writable[0]!.address;
  }
}

/** Exchanges of one shape that nobody uses. */
interface Shape {
  /** Bytes of the request, and for the answer. */
  readonly length: number;
  readonly room: number;
  readonly idle: Exchange[];
}

/** Makes exchanges, and keeps those that were used: a driver's messages are of few lengths. */
export class Exchanges {
  readonly #allocator: GuestAllocator;
  #shapes: Shape[] = [];
  /** The one asked for last. */
  #last: Shape | undefined;

  constructor(allocator: GuestAllocator) {
    this.#allocator = allocator;
  }

  /** @throws RangeError when there is no room. */
  take(length: number, room: number): Exchange {
    return this.#shapeOf(length, room).idle.pop() ?? this.#make(length, room);
  }

  /** Takes one back. @returns who waited. */
  release(exchange: Exchange): Taker {
    const { readable, writable } = exchange;
    const taker = exchange.taker!;
    exchange.taker = undefined;
    this.#shapeOf(readable[0]?.length ?? 0, writable[0]?.length ?? 0).idle.push(exchange);
    return taker;
  }

  /** Gives back the memory of those that nobody uses. */
  free(): void {
    for (const { idle } of this.#shapes) {
      for (const { readable, writable } of idle) this.#freeAll([...readable, ...writable]);
    }
    this.#shapes = [];
    this.#last = undefined;
  }

  #shapeOf(length: number, room: number): Shape {
    const last = this.#last;
    if (last !== undefined && last.length === length && last.room === room) return last;
    let shape = this.#shapes.find((one) => one.length === length && one.room === room);
    if (shape === undefined) {
      if (this.#shapes.length === SHAPES_MOST) this.free();
      shape = { length, room, idle: [] };
      this.#shapes.push(shape);
    }
    this.#last = shape;
    return shape;
  }

  #make(length: number, room: number): Exchange {
    const made: GuestBuffer[] = [];
    try {
      const readable = length > 0 ? [this.#alloc(length)] : [];
      made.push(...readable);
      const writable = room > 0 ? [this.#alloc(room)] : [];
      return new Exchange(readable, writable);
    } catch (error) {
      this.#freeAll(made);
      throw error;
    }
  }

  #alloc(length: number): GuestBuffer {
    try {
      return this.#allocator.alloc(length);
    } catch {
      this.free();
      return this.#allocator.alloc(length);
    }
  }

  #freeAll(buffers: readonly GuestBuffer[]): void {
    for (const buffer of buffers) this.#allocator.free(buffer);
  }
}

/** Shapes that are looked through one after the other. */
const SHAPES_MOST = 64;
