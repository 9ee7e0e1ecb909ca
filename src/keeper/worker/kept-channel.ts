import { closeFd } from '../../linux/close-fd.js';
import { duplicate } from '../../linux/duplicate.js';
import type { PeekSocket } from '../../linux/peek-socket.js';
import type { Keep, KeptItem, Notes } from '../../transports/keep.js';
import type { Channel, ChannelHandler } from '../../transports/ports.js';
import { encodeFrame, joined } from '../frames.js';

/**
 * A front-end's connection as a worker has it. It reads without taking anything out of the socket, and has the keeper take out what was dealt
 * with, keep what is to be kept of it, and send the answer, in one go.
 */
export class KeptChannel implements Channel, Keep {
  readonly kept: readonly KeptItem[];
  readonly #socket: PeekSocket;
  readonly #keeper: Channel;
  readonly #ended: () => void;
  /** What goes out with the next `settle`. */
  #unsent: Uint8Array[] = [];
  #unsentFds: number[] = [];
  /** What the keeper did not confirm yet: meanwhile it may take bytes out of the socket. */
  #unsettled = 0;
  #closed = false;

  /**
   * @param kept - whose descriptors are this object's taker's.
   * @param closed - called when it is closed here.
   */
  constructor(socket: PeekSocket, keeper: Channel, kept: readonly KeptItem[], closed: () => void) {
    this.#socket = socket;
    this.#ended = closed;
    this.#keeper = keeper;
    this.kept = kept;
  }

  receive(handler: ChannelHandler): void {
    this.#socket.receive(handler);
  }

  send(bytes: Uint8Array, fds: readonly number[] = []): void {
    if (this.#closed) return;
    if (this.#unsent.length === 0) {
      // What is no answer is not waited for.
      setImmediate(() => {
        if (this.#unsent.length > 0) this.settle(0);
      });
    }
    this.#unsent.push(bytes.slice());
    this.#unsentFds.push(...fds.map(duplicate));
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  settle(size: number, { drop = [], keep, put = [] }: Notes = {}): void {
    if (this.#closed) return;
    const nothing = drop.length === 0 && keep === undefined && put.length === 0 && this.#unsent.length === 0;
    if (nothing && size === 0) return;
    // Nobody has to know: what led to nothing can be done twice.
    if (nothing && this.#unsettled === 0 && this.#socket.take(size)) return;
    const body = {
      say: 'settle',
      size,
      drop,
      ...(keep !== undefined && { keep }),
      put: put.map(({ key, bytes, fds = [] }) => ({ key, size: bytes.length, fds: fds.length })),
    } as const;
    const pieces = [...put.map(({ bytes }) => bytes), ...this.#unsent];
    const fds = [...put.flatMap((item) => item.fds ?? []), ...this.#unsentFds];
    this.#unsettled += 1;
    this.#keeper.send(encodeFrame(body, joined(pieces)), fds);
    this.#forgetUnsent();
  }

  /** The keeper carried one `settle` out. */
  settled(): void {
    this.#unsettled -= 1;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#forgetUnsent();
    this.#socket.close();
    this.#ended();
  }

  #forgetUnsent(): void {
    this.#unsent = [];
    for (const fd of this.#unsentFds.splice(0)) closeFd(fd);
  }
}
