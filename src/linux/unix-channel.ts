import { OsError } from '../transports/os-error.js';
import type { Channel, ChannelHandler } from '../transports/ports.js';
import { closeFd } from './close-fd.js';
import { closeLater } from './close-stranger.js';
import { recv, shutdown } from './libc.js';
import { MAX_FDS, type Received, receiveBuffer, receiveMessage, sendMessage } from './message-socket.js';
import { NativeBuffer } from './native-buffer.js';
import { EPOLLIN, EPOLLOUT, type Reactor, type Watch } from './reactor.js';
import { SendQueue } from './send-queue.js';

const SHUT_RDWR = 2;
const MSG_PEEK = 0x2;
const MSG_DONTWAIT = 0x40;
const peeked = new NativeBuffer(8);

/**
 * A connected unix stream socket.
 *
 * When the peer hangs up, what it sent before is delivered first. A peer that does not read may leave 16 MiB waiting
 * here; after that the channel closes with an error. `close` drops what still waits, and ends the connection, whoever has a duplicate of it.
 */
export class UnixChannel implements Channel {
  readonly #reactor: Reactor;
  readonly #shared: boolean;
  readonly #queue = new SendQueue();
  /** -1 once it is closed, from either side. */
  #fd: number;
  #handler: ChannelHandler | undefined;
  #watch: Watch | undefined;
  /** The peer takes no more, but what it sent before may still be there. */
  #deaf = false;
  #ended: { readonly error: Error | undefined } | undefined;
  #closed = false;
  readonly #memory: NativeBuffer = receiveBuffer();
  #paused = false;

  /**
   * @param fd - a connected socket, which is the channel's from now on.
   * @param shared - another process has the connection, too, which `close` does not end then.
   */
  constructor(reactor: Reactor, fd: number, shared = false) {
    this.#reactor = reactor;
    this.#shared = shared;
    this.#fd = fd;
  }

  /** The socket's own descriptor; -1 once it is closed. */
  get fd(): number {
    return this.#fd;
  }

  receive(handler: ChannelHandler): void {
    this.#handler = handler;
    if (this.#ended) this.#announce();
    else this.#update();
  }

  /**
   * @throws RangeError for more than 64 descriptors, or descriptors without a byte to carry them.
   * @throws OsError for a descriptor that is not open.
   */
  send(bytes: Uint8Array, fds: readonly number[] = []): void {
    if (fds.length > MAX_FDS || (fds.length > 0 && bytes.length === 0)) {
      throw new RangeError(`${fds.length} descriptors can't be sent with ${bytes.length} bytes`);
    }
    if (this.#fd === -1 || this.#deaf) return;
    try {
      const taken = this.#queue.empty ? sendMessage(this.#fd, bytes, 0, fds) : 0;
      if (taken === bytes.length) return;
      this.#queue.add(bytes.subarray(taken), taken === 0 ? fds : []);
    } catch (error) {
      this.#sendFailed(error);
    }
    this.#update();
  }

  pause(): void {
    this.#paused = true;
    this.#update();
  }

  resume(): void {
    this.#paused = false;
    this.#update();
  }

  close(): void {
    this.#closed = true;
    this.#release();
  }

  /** Reads once: it is called again while there is more, and others have their turn in between. */
  #read(): void {
    const handler = this.#handler;
    if (!handler || this.#paused || this.#fd === -1) return;
    const message = this.#take(this.#memory);
    if (message) handler.received(this.#memory.bytes.subarray(0, message.size), message.fds);
  }

  #take(memory: NativeBuffer): Received | undefined {
    try {
      const message = receiveMessage(this.#fd, memory);
      if (message?.size !== 0) return message;
      this.#end(undefined);
    } catch (error) {
      if (!(error instanceof OsError)) throw error;
      // The peer closed without reading all; whether it did is a matter of chance, and no error.
      this.#end(error.code === 'ECONNRESET' ? undefined : error);
    }
    return undefined;
  }

  #flush(): void {
    try {
      this.#queue.flush(this.#fd);
    } catch (error) {
      this.#sendFailed(error);
    }
    this.#update();
  }

  #sendFailed(error: unknown): void {
    if (!(error instanceof OsError) || error.code === 'EBADF') throw error;
    if (error.code === 'EPIPE' || error.code === 'ECONNRESET') {
      this.#deaf = true;
      this.#queue.clear();
    } else {
      this.#end(error);
    }
  }

  /** Watches for what is of use now, or not at all: a hang-up that nobody asked for would be reported for ever. */
  #update(): void {
    if (this.#fd === -1) return;
    const events = (this.#handler && !this.#paused ? EPOLLIN : 0) | (this.#queue.empty ? 0 : EPOLLOUT);
    if (events === 0) {
      this.#watch?.end();
      this.#watch = undefined;
    } else if (this.#watch) {
      this.#watch.change(events);
    } else {
      this.#watch = this.#reactor.watch(this.#fd, events, (ready) => {
        if (ready & ~EPOLLIN && !this.#queue.empty) this.#flush();
        if (ready & ~EPOLLOUT) this.#read();
      });
    }
  }

  #end(error: Error | undefined): void {
    this.#release();
    this.#ended = { error };
    if (this.#handler) this.#announce();
  }

  /** From the event loop, so that no caller of `send` finds itself torn down. */
  #announce(): void {
    setImmediate(() => {
      if (!this.#closed) this.#handler?.closed(this.#ended?.error);
    });
  }

  #release(): void {
    if (this.#fd === -1) return;
    this.#watch?.end();
    this.#queue.clear();
    if (!this.#shared) shutdown(this.#fd, SHUT_RDWR);
    closeSocket(this.#fd);
    this.#fd = -1;
  }
}

/** With what the peer sent and nobody took, its descriptors are let go, too: that may take as long as the peer likes. */
function closeSocket(fd: number): void {
  if (recv(fd, peeked.address, 1, MSG_PEEK | MSG_DONTWAIT) > 0) closeLater(fd);
  else closeFd(fd);
}
