import { OsError } from '../transports/os-error.js';
import type { ChannelHandler } from '../transports/ports.js';
import { closeFd } from './close-fd.js';
import { closeStranger } from './close-stranger.js';
import { check } from './errno.js';
import { setsockopt } from './libc.js';
import { MSG_PEEK, receiveBuffer, receiveMessage } from './message-socket.js';
import { NativeBuffer } from './native-buffer.js';
import { EPOLLET, EPOLLIN, type Reactor, type Watch } from './reactor.js';

const SOL_SOCKET = 1;
const SO_PEEK_OFF = 42;

/**
 * A connected unix stream socket that another process has, too, from which is read without taking anything out: what was read is there for
 * the next reader until somebody takes it out. Each byte is read once, from the first that is still there when this is made.
 */
export class PeekSocket {
  readonly #reactor: Reactor;
  readonly #memory: NativeBuffer = receiveBuffer();
  /** -1 once it is closed. */
  #fd: number;
  #handler: ChannelHandler | undefined;
  #watch: Watch | undefined;
  #paused = false;
  /** A look at the socket is under way, or asked for. */
  #looking = false;

  /**
   * @param fd - its own from now on.
   * @throws OsError when it can't be read in this way (then it is closed).
   */
  constructor(reactor: Reactor, fd: number) {
    this.#reactor = reactor;
    this.#fd = fd;
    const from = new NativeBuffer(4);
    try {
      check(setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, from.address, 4), 'setsockopt', 'peek at a socket');
    } catch (error) {
      closeFd(fd);
      throw error;
    }
  }

  /** Says who gets what arrives. */
  receive(handler: ChannelHandler): void {
    this.#handler = handler;
    // On its edges: what was read and is still there would be reported for ever.
    this.#watch = this.#reactor.watch(this.#fd, EPOLLIN | EPOLLET, () => this.#look());
  }

  /** Nothing is delivered until `resume`, a hang-up neither. */
  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    setImmediate(() => this.#look());
  }

  /**
   * Takes the next bytes out, which were read. Nobody else may take any out meanwhile.
   *
   * @returns `false` when they are not there.
   */
  take(size: number): boolean {
    for (let left = size; left > 0; ) {
      const taken = receiveMessage(this.#fd, this.#memory, 0, Math.min(left, this.#memory.bytes.length));
      if (taken === undefined || taken.size === 0) return false;
      for (const fd of taken.fds) closeStranger(fd);
      left -= taken.size;
    }
    return true;
  }

  /** Lets go of it. The connection lives on, in whoever else has it. Safe to call twice. */
  close(): void {
    if (this.#fd === -1) return;
    this.#watch?.end();
    closeFd(this.#fd);
    this.#fd = -1;
  }

  /** Reads all there is, others having their turn in between. */
  #look(): void {
    if (this.#looking || this.#paused || this.#fd === -1) return;
    const handler = this.#handler!;
    try {
      const message = receiveMessage(this.#fd, this.#memory, MSG_PEEK);
      if (message === undefined) return;
      if (message.size === 0) {
        this.#end(undefined);
        return;
      }
      this.#looking = true;
      setImmediate(() => {
        this.#looking = false;
        this.#look();
      });
      handler.received(this.#memory.bytes.subarray(0, message.size), message.fds);
    } catch (error) {
      if (!(error instanceof OsError)) throw error;
      this.#end(error.code === 'ECONNRESET' ? undefined : error);
    }
  }

  #end(error: Error | undefined): void {
    this.close();
    this.#handler?.closed(error);
  }
}
