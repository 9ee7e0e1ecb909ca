import type { Channel, EventPort, Mapping, Os, Transfer } from '../transports/ports.js';
import type { Clock } from '../virtio/clock.js';
import { closeFd } from './close-fd.js';
import { closeStranger } from './close-stranger.js';
import { EventFd } from './event-fd.js';
import { FileMapping } from './mapping.js';
import { createMemfd } from './memfd.js';
import { MonotonicClock } from './monotonic-clock.js';
import { PeekSocket } from './peek-socket.js';
import { createPipe, readPipe, writePipe } from './pipe.js';
import { Reactor } from './reactor.js';
import { UnixChannel } from './unix-channel.js';
import { UnixListener } from './unix-listener.js';
import { connectAbstract, connectSocket, expectConnected, expectPaired, pairSockets } from './unix-socket.js';

/**
 * Linux, for one event loop: all that it hands out is served by one reactor. It keeps the process alive while anything
 * is awaited: a connection, a byte, a signal or an alarm.
 */
export class LinuxOs implements Os {
  readonly #reactor = new Reactor();
  readonly clock: Clock = new MonotonicClock(this.#reactor);

  createEvent(): EventPort {
    return EventFd.create(this.#reactor);
  }

  adoptEvent(fd: number): EventPort {
    return EventFd.adopt(this.#reactor, fd);
  }

  createChannel(): { readonly channel: UnixChannel; readonly fd: number } {
    const [ours, theirs] = pairSockets();
    return { channel: new UnixChannel(this.#reactor, ours), fd: theirs };
  }

  adoptChannel(fd: number, shared = false): Channel {
    return this.#adopt(fd, expectPaired, shared);
  }

  /**
   * Takes over a connected socket that another process reads from, too: what is read from it here stays there.
   *
   * @throws OsError when it can't be read in this way (then it is closed).
   */
  peek(fd: number): PeekSocket {
    return new PeekSocket(this.#reactor, fd);
  }

  /**
   * Connects to whoever listens at `path`.
   *
   * @throws OsError `ENOENT` or `ECONNREFUSED` when nobody does.
   */
  connect(path: string): UnixChannel {
    return new UnixChannel(this.#reactor, connectSocket(path));
  }

  /** The same, at a name that is no path (unix(7), "abstract"). */
  connectAbstract(name: string): UnixChannel {
    return new UnixChannel(this.#reactor, connectAbstract(name));
  }

  /**
   * Listens at `path`: a socket file that nobody listens at any more is taken over.
   *
   * @throws OsError `EADDRINUSE` when another process listens there.
   */
  listen(path: string): UnixListener {
    return UnixListener.listen(this.#reactor, path);
  }

  /**
   * Listens at a name that is no path (unix(7), "abstract"), where anybody may connect: look who it is (`peerOf`).
   *
   * @throws OsError `EADDRINUSE` when somebody has it.
   */
  listenAbstract(name: string): UnixListener {
    return UnixListener.listenAbstract(this.#reactor, name);
  }

  /**
   * Takes over a socket that this process was started with.
   *
   * @returns what it is: a listener, or a connection.
   * @throws OsError when it is neither.
   */
  adoptSocket(fd: number): UnixListener | UnixChannel {
    return UnixListener.listens(fd) ? this.adoptListener(fd) : this.#adopt(fd, expectConnected);
  }

  /**
   * Takes over a descriptor that listens already.
   *
   * @throws OsError when it does not (then it is closed).
   */
  adoptListener(fd: number): UnixListener {
    return UnixListener.adopt(this.#reactor, fd);
  }

  map(fd: number, offset: number, size: number, readOnly = false): Mapping {
    try {
      return new FileMapping(fd, offset, size, readOnly);
    } finally {
      closeStranger(fd);
    }
  }

  createMemory(name: string, size: number): { readonly fd: number; readonly mapping: Mapping } {
    const fd = createMemfd(name, size);
    try {
      return { fd, mapping: new FileMapping(fd, 0, size) };
    } catch (error) {
      closeFd(fd);
      throw error;
    }
  }

  createPipe(): { readonly reader: number; readonly writer: number } {
    return createPipe();
  }

  writePipe(fd: number, bytes: Uint8Array, done: (error?: Error) => void): Transfer {
    return writePipe(this.#reactor, fd, bytes, done);
  }

  readPipe(fd: number, most: number, done: (result: Uint8Array | Error) => void): Transfer {
    return readPipe(this.#reactor, fd, most, done);
  }

  closeFd(fd: number): void {
    closeStranger(fd);
  }

  #adopt(fd: number, expect: (fd: number) => void, shared = false): UnixChannel {
    try {
      expect(fd);
    } catch (error) {
      closeStranger(fd);
      throw error;
    }
    return new UnixChannel(this.#reactor, fd, shared);
  }

  /** Stops watching whatever is still open; nothing calls back after this. Safe to call twice. */
  close(): void {
    this.#reactor.close();
  }
}
