import { fstatSync } from 'node:fs';
import { closeStranger } from '../../linux/close-stranger.js';
import { drain, takeMessage } from '../../linux/message-socket.js';
import type { UnixChannel } from '../../linux/unix-channel.js';
import type { KeptItem } from '../../transports/keep.js';
import type { Channel } from '../../transports/ports.js';
import { encodeFrame, type Frame, type FromWorker, joined, partsOf } from '../frames.js';

type Settle = Extract<FromWorker, { say: 'settle' }>;

/** What is kept for one front-end at most: more than any has, and what a hostile one can have this process hold. */
const ITEMS_MOST = 4096;
const BYTES_MOST = 16 << 20;

/** What one frame of kept things has at most: as many descriptors as one message can have. */
const FRAME_FDS = 64;
const FRAME_BYTES = 16 << 10;

/** The connection of one front-end, and what its workers left. It outlives them. */
export class KeptConnection {
  readonly number: number;
  readonly transport: 'vhost-user' | 'vfio-user';
  readonly socket: string;
  readonly #channel: UnixChannel;
  readonly #items = new Map<string, KeptItem>();
  /** Bytes of each file that is kept, when it came. */
  readonly #sizes = new Map<number, number>();
  #bytes = 0;

  /** @param channel - owned from now on. */
  constructor(channel: UnixChannel, number: number, transport: KeptConnection['transport'], socket: string) {
    this.#channel = channel;
    this.number = number;
    this.transport = transport;
    this.socket = socket;
  }

  /** Hands everything over to a worker: duplicates of the descriptors go with it. @param first - no driver has started a device yet. */
  hand(worker: Channel, first: boolean): void {
    const { transport, number } = this;
    worker.send(encodeFrame({ say: 'serve', transport, connection: number, first }), [this.#channel.fd]);
    const some: KeptItem[] = [];
    for (const item of this.#items.values()) {
      if (some.length > 0 && !fit([...some, item])) sendKept(worker, some.splice(0));
      some.push(item);
    }
    sendKept(worker, some);
    worker.send(encodeFrame({ say: 'go' }));
  }

  /**
   * Carries out what a worker settled: all of it, for nothing ends this process in between.
   *
   * @throws Error when more is kept than can be, or the worker makes no sense.
   */
  settle(frame: Frame<Settle>): void {
    const { body, fds } = frame;
    for (const key of body.drop) this.#drop(key);
    const taken = takeMessage(this.#channel.fd, body.size);
    if (body.keep === undefined) for (const fd of taken.fds) closeStranger(fd);
    else this.#put({ key: body.keep, ...taken });
    const [items, answer] = partsOf(frame, body.put);
    for (const item of items) this.#put(item);
    if (answer.length > 0) this.#channel.send(answer, fds);
    for (const fd of fds) closeStranger(fd);
    if (this.#items.size > ITEMS_MOST || this.#bytes > BYTES_MOST)
      throw new Error('more has to be kept of it than is kept of any front-end');
  }

  /** Whether a file that is kept has become shorter: who touches what is gone dies of SIGBUS. */
  get cutShort(): boolean {
    return [...this.#sizes].some(([fd, size]) => sizeOf(fd) < size);
  }

  /** Ends the connection. */
  close(): void {
    // Unread bytes would be an error to the front-end.
    for (const fd of drain(this.#channel.fd)) closeStranger(fd);
    this.#channel.close();
    for (const key of [...this.#items.keys()]) this.#drop(key);
  }

  #put(item: KeptItem): void {
    this.#drop(item.key);
    this.#items.set(item.key, item);
    for (const fd of item.fds) this.#sizes.set(fd, sizeOf(fd));
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
    for (const fd of item.fds) {
      this.#sizes.delete(fd);
      closeStranger(fd);
    }
  }
}

/** Bytes of a file, 0 of what is none. A worker has looked at it: it is memory, and nobody is asked for its size. */
function sizeOf(fd: number): number {
  return fstatSync(fd).size;
}

/** Whether one frame has room for these: few frames are under way in a socket at a time, and with one more than that descriptors cost much. */
function fit(items: readonly KeptItem[]): boolean {
  const fds = items.reduce((sum, item) => sum + item.fds.length, 0);
  const bytes = items.reduce((sum, item) => sum + item.bytes.length, 0);
  return fds <= FRAME_FDS && bytes <= FRAME_BYTES;
}

function sendKept(worker: Channel, items: readonly KeptItem[]): void {
  const parts = items.map(({ key, bytes, fds }) => ({ key, size: bytes.length, fds: fds.length }));
  const bytes = joined(items.map((item) => item.bytes));
  const fds = items.flatMap((item) => item.fds);
  worker.send(encodeFrame({ say: 'kept', items: parts }, bytes), fds);
}
