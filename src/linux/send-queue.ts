import { Fifo } from '../transports/fifo.js';
import { OsError } from '../transports/os-error.js';
import { closeFd } from './close-fd.js';
import { duplicate } from './duplicate.js';
import { sendMessage } from './message-socket.js';

/** What may wait at most, in bytes; a descriptor costs 64 KiB of it and a send 256 bytes. */
const CAPACITY = 16 * 1024 * 1024;
const FD_COST = 64 * 1024;
const SEND_COST = 256;
/** Sends of one `flush`. */
const FLUSH_MOST = 256;

interface Waiting {
  readonly bytes: Uint8Array;
  start: number;
  fds: readonly number[];
  readonly cost: number;
}

/**
 * What a socket did not take at once. Each send goes out by itself, never joined with the next: the receiver tells by
 * that whose descriptors it got.
 */
export class SendQueue {
  readonly #waiting = new Fifo<Waiting>();
  #cost = 0;

  get empty(): boolean {
    return this.#waiting.length === 0;
  }

  /**
   * Copies the bytes and duplicates the descriptors.
   *
   * @throws OsError `ENOBUFS` when more would wait than may: the peer does not read.
   */
  add(bytes: Uint8Array, fds: readonly number[]): void {
    const cost = SEND_COST + bytes.length + fds.length * FD_COST;
    if (this.#cost + cost > CAPACITY) {
      throw new OsError('ENOBUFS', 'sendmsg', 'send: the peer does not read what it was sent');
    }
    const copies: number[] = [];
    try {
      for (const fd of fds) copies.push(duplicate(fd));
    } catch (error) {
      for (const copy of copies) closeFd(copy);
      throw error;
    }
    this.#waiting.push({ bytes: bytes.slice(), start: 0, fds: copies, cost });
    this.#cost += cost;
  }

  /** Sends what the socket takes, up to some hundred sends: others have their turn. Throws what `sendMessage` does. */
  flush(socket: number): void {
    let next = this.#waiting.peek();
    for (let sends = 0; next && sends < FLUSH_MOST; sends++) {
      const taken = sendMessage(socket, next.bytes, next.start, next.fds);
      if (taken === 0) return;
      next.start += taken;
      for (const fd of next.fds) closeFd(fd);
      next.fds = [];
      if (next.start < next.bytes.length) return;
      this.#cost -= next.cost;
      this.#waiting.shift();
      next = this.#waiting.peek();
    }
  }

  clear(): void {
    for (const { fds } of this.#waiting) for (const fd of fds) closeFd(fd);
    this.#waiting.clear();
    this.#cost = 0;
  }
}
