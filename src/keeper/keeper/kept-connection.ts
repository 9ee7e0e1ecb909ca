import { closeStranger } from '../../linux/close-stranger.js';
import { takeMessage } from '../../linux/message-socket.js';
import type { UnixChannel } from '../../linux/unix-channel.js';
import type { KeptItem } from '../../transports/keep.js';
import type { Channel } from '../../transports/ports.js';
import { encodeFrame, type Frame, type FromWorker } from '../frames.js';

type Settle = Extract<FromWorker, { say: 'settle' }>;

/** What is kept for one front-end at most: more than any has, and what a hostile one can have this process hold. */
const ITEMS_MOST = 4096;
const BYTES_MOST = 16 << 20;

/** The connection of one front-end, and what its workers left. It outlives them. */
export class KeptConnection {
  readonly number: number;
  readonly transport: 'vhost-user' | 'vfio-user';
  readonly socket: string;
  readonly #channel: UnixChannel;
  readonly #items = new Map<string, KeptItem>();
  #bytes = 0;

  /** @param channel - owned from now on. */
  constructor(channel: UnixChannel, number: number, transport: KeptConnection['transport'], socket: string) {
    this.#channel = channel;
    this.number = number;
    this.transport = transport;
    this.socket = socket;
  }

  /** Hands everything over to a worker: duplicates of the descriptors go with it. */
  hand(worker: Channel): void {
    const { transport, number } = this;
    worker.send(encodeFrame({ say: 'serve', transport, connection: number }), [this.#channel.fd]);
    for (const { key, bytes, fds } of this.#items.values())
      worker.send(encodeFrame({ say: 'kept', key }, bytes), fds);
    worker.send(encodeFrame({ say: 'go' }));
  }

  /**
   * Carries out what a worker settled: all of it, for nothing ends this process in between.
   *
   * @throws Error when more is kept than can be, or the worker makes no sense.
   */
  settle({ body, bytes, fds }: Frame<Settle>): void {
    for (const key of body.drop) this.#drop(key);
    const taken = takeMessage(this.#channel.fd, body.size);
    if (body.keep === undefined) for (const fd of taken.fds) closeStranger(fd);
    else this.#put({ key: body.keep, ...taken });
    let at = 0;
    for (const { key, size, fds: count } of body.put) {
      this.#put({ key, bytes: bytes.slice(at, at + size), fds: fds.splice(0, count) });
      at += size;
    }
    if (at < bytes.length) this.#channel.send(bytes.subarray(at), fds);
    for (const fd of fds) closeStranger(fd);
    if (this.#items.size > ITEMS_MOST || this.#bytes > BYTES_MOST)
      throw new Error('more has to be kept of it than is kept of any front-end');
  }

  /** Ends the connection. */
  close(): void {
    this.#channel.close();
    for (const key of [...this.#items.keys()]) this.#drop(key);
  }

  #put(item: KeptItem): void {
    this.#drop(item.key);
    this.#items.set(item.key, item);
    this.#bytes += item.bytes.length;
  }

  #drop(key: string): void {
    const [head, tail] = key.split('*');
    if (tail !== undefined) {
      for (const other of [...this.#items.keys()])
        if (other.startsWith(head!) && other.endsWith(tail)) this.#drop(other);
      return;
    }
    const item = this.#items.get(key);
    if (item === undefined) return;
    this.#items.delete(key);
    this.#bytes -= item.bytes.length;
    for (const fd of item.fds) closeStranger(fd);
  }
}
