import { OsError } from '../transports/os-error.js';
import { closeFd } from './close-fd.js';
import { check, lastError } from './errno.js';
import { accept4, bind, listen } from './libc.js';
import { setNonBlocking } from './non-blocking.js';
import { EPOLLIN, type Reactor, type Watch } from './reactor.js';
import { abstractAddress } from './socket-address.js';
import { SocketFile } from './socket-file.js';
import { UnixChannel } from './unix-channel.js';
import { expectUnixStream, openSocket, SOCK_STREAM, socketOption } from './unix-socket.js';

const SOCK_CLOEXEC = 0o2000000;
const SO_ACCEPTCONN = 30;
const BACKLOG = 128;
/**
 * How long to leave the listener alone when no connection can be taken for want of descriptors or memory: twice as long each time, up to
 * the longest.
 */
const RETRY_MS = 100;
const LONGEST_RETRY_MS = 5000;

/** Gets the connections, and hears of what goes wrong between them. */
export interface ListenHandler {
  accepted(channel: UnixChannel): void;
  /** A connection could not be taken, for want of descriptors for example; it stays in the backlog and is tried again. */
  failed(error: Error): void;
}

/**
 * A listening unix socket. A socket file that nobody listens at is taken over, and our own is removed at the end,
 * unless somebody else's is there by then.
 */
export class UnixListener {
  readonly #reactor: Reactor;
  readonly #fd: number;
  readonly #file: SocketFile | undefined;
  #handler: ListenHandler | undefined;
  #watch: Watch | undefined;
  #retry: NodeJS.Timeout | undefined;
  #retryMs = RETRY_MS;
  #paused = false;
  #closed = false;

  private constructor(reactor: Reactor, fd: number, file?: SocketFile) {
    this.#reactor = reactor;
    this.#fd = fd;
    this.#file = file;
  }

  /** @throws OsError `EADDRINUSE` when another process listens at `path`, or a file that is no socket is there. */
  static listen(reactor: Reactor, path: string): UnixListener {
    const fd = openSocket(SOCK_STREAM);
    try {
      const file = SocketFile.bind(fd, path);
      check(listen(fd, BACKLOG), 'listen', `listen at ${path}`);
      return new UnixListener(reactor, fd, file);
    } catch (error) {
      closeFd(fd);
      throw error;
    }
  }

  /**
   * Listens at a name that is no path (unix(7), "abstract"): anybody may connect.
   *
   * @throws OsError `EADDRINUSE` when somebody has it.
   */
  static listenAbstract(reactor: Reactor, name: string): UnixListener {
    const fd = openSocket(SOCK_STREAM);
    try {
      const address = abstractAddress(name);
      check(bind(fd, address.address, address.bytes.length), 'bind', `listen at @${name}`);
      check(listen(fd, BACKLOG), 'listen', `listen at @${name}`);
      return new UnixListener(reactor, fd);
    } catch (error) {
      closeFd(fd);
      throw error;
    }
  }

  /**
   * Whether a socket is one that listens.
   *
   * @throws OsError when the descriptor is no unix stream socket.
   */
  static listens(fd: number): boolean {
    expectUnixStream(fd);
    return socketOption(fd, SO_ACCEPTCONN) !== 0;
  }

  /**
   * Takes over a socket that listens already, as systemd passes one; its file is not removed.
   *
   * @throws OsError when it does not (then it is closed).
   */
  static adopt(reactor: Reactor, fd: number): UnixListener {
    try {
      if (!UnixListener.listens(fd)) {
        throw new OsError('EINVAL', 'getsockopt', `accept from descriptor ${fd}, which does not listen`);
      }
      setNonBlocking(fd);
    } catch (error) {
      closeFd(fd);
      throw error;
    }
    return new UnixListener(reactor, fd);
  }

  /** Starts to take connections, one for each turn of the event loop. */
  accept(handler: ListenHandler): void {
    this.#handler = handler;
    this.#update();
  }

  /** Lets those who connect wait in the backlog; `accepted` is not called until `resume`. */
  pause(): void {
    this.#paused = true;
    this.#update();
  }

  resume(): void {
    this.#paused = false;
    this.#update();
  }

  /** Safe to call twice. Channels that were accepted live on. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#update();
    try {
      this.#file?.remove();
    } finally {
      closeFd(this.#fd);
    }
  }

  /** While paused it is out of the epoll set, where a waiting connection would be reported all the time. */
  #update(): void {
    clearTimeout(this.#retry);
    const wanted = this.#handler !== undefined && !this.#paused && !this.#closed;
    if (wanted) {
      this.#watch ??= this.#reactor.watch(this.#fd, EPOLLIN, () => this.#acceptOne());
    } else {
      this.#watch?.end();
      this.#watch = undefined;
    }
  }

  #acceptOne(): void {
    const fd = accept4(this.#fd, 0, 0, SOCK_CLOEXEC);
    if (fd !== -1) {
      this.#retryMs = RETRY_MS;
      this.#handler?.accepted(new UnixChannel(this.#reactor, fd));
      return;
    }
    const code = lastError();
    if (code === 'EAGAIN' || code === 'EINTR' || code === 'ECONNABORTED') return;
    this.#watch?.end();
    this.#watch = undefined;
    this.#retry = setTimeout(() => this.#update(), this.#retryMs);
    this.#retryMs = Math.min(2 * this.#retryMs, LONGEST_RETRY_MS);
    this.#handler?.failed(new OsError(code, 'accept4', 'take a connection'));
  }
}
