import { type Abortable, abortable } from '../virtio/abortable.js';
import { Fifo } from '../virtio/fifo.js';
import type { InspectEvent } from './event.js';

/** What an event takes beside its bytes, at a guess. */
const EVENT = 256;
/** Bytes that are kept for a reader that is busy, unless told. */
export const KEPT: number = 16 << 20;

/**
 * Events for one reader, who may be slow: what happens never waits for him. When there is no room left, events are left out until half of it
 * is free again, and a `dropped` says how many.
 */
export class EventStream implements AsyncIterableIterator<InspectEvent> {
  readonly #keep: number;
  readonly #left: () => void;
  readonly #signal: AbortSignal | undefined;
  readonly #events = new Fifo<InspectEvent>();
  #size = 0;
  #dropped = 0;
  #last: InspectEvent | undefined;
  #ended = false;
  #wakes: (() => void)[] = [];

  /**
   * @param keep - bytes, of events that the reader did not take yet.
   * @param left - called once, when nobody reads any more.
   */
  constructor(keep: number, left: () => void, { signal }: Abortable = {}) {
    this.#keep = keep;
    this.#left = left;
    this.#signal = signal;
  }

  readonly hear = (event: InspectEvent): void => {
    if (this.#ended) return;
    this.#last = event;
    const full = this.#size >= (this.#dropped > 0 ? this.#keep / 2 : this.#keep);
    if (full) {
      this.#dropped += 1;
      return;
    }
    this.#sayDropped(event);
    this.#add(event);
  };

  /** Nothing follows. What is kept can still be read. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    if (this.#last !== undefined) this.#sayDropped(this.#last);
    this.#left();
    this.#wakeAll();
  }

  async next(): Promise<IteratorResult<InspectEvent>> {
    this.#signal?.throwIfAborted();
    while (this.#events.size === 0) {
      if (this.#ended) return { value: undefined, done: true };
      const woken = new Promise<void>((resolve) => {
        this.#wakes.push(resolve);
      });
      try {
        await abortable(woken, this.#signal);
      } catch (error) {
        this.end();
        throw error;
      }
    }
    const event = this.#events.shift()!;
    this.#size -= sizeOf(event);
    return { value: event, done: false };
  }

  async return(): Promise<IteratorResult<InspectEvent>> {
    this.end();
    while (this.#events.shift() !== undefined);
    this.#size = 0;
    return { value: undefined, done: true };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #sayDropped({ time, connection }: InspectEvent): void {
    if (this.#dropped === 0) return;
    this.#add({ type: 'dropped', time, connection, count: this.#dropped });
    this.#dropped = 0;
  }

  #add(event: InspectEvent): void {
    this.#events.push(event);
    this.#size += sizeOf(event);
    if (this.#wakes.length > 0) this.#wakeAll();
  }

  #wakeAll(): void {
    for (const wake of this.#wakes.splice(0)) wake();
  }
}

function sizeOf(event: InspectEvent): number {
  return EVENT + ('bytes' in event ? event.bytes.length : 0);
}
