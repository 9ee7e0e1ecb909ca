import { OsError } from '../transports/os-error.js';
import type { EventPort } from '../transports/ports.js';
import { closeFd } from './close-fd.js';
import { closeStranger } from './close-stranger.js';
import { describeDescriptor, eventFdId, isEventFd } from './descriptor.js';
import { check } from './errno.js';
import { eventfd, write } from './libc.js';
import { NativeBuffer } from './native-buffer.js';
import { setNonBlocking } from './non-blocking.js';
import { EPOLLET, EPOLLIN, type Reactor, type Watch } from './reactor.js';

const EFD_CLOEXEC = 0o2000000;
const EFD_NONBLOCK = 0o4000;

const one = new NativeBuffer(8);
one.setLong(0, 1);

/**
 * An eventfd that is signalled or watched, and never read: watched on its edges, it reports each signal whatever its
 * count.
 *
 * One thing is out of our hands: a peer that makes the open file blocking again and fills the count can make `signal`
 * wait: the kernel has no write to an eventfd that can be told not to.
 */
export class EventFd implements EventPort {
  readonly #reactor: Reactor;
  #fd: number;
  #watch: Watch | undefined;

  private constructor(reactor: Reactor, fd: number) {
    this.#reactor = reactor;
    this.#fd = fd;
  }

  static create(reactor: Reactor): EventFd {
    return new EventFd(reactor, check(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), 'eventfd', 'make an eventfd'));
  }

  /**
   * Takes a descriptor over. A socket or a file that could be waited for as well is refused: the peer's own end of its connection,
   * held here, would keep that from ever being seen to end.
   *
   * @throws OsError `EINVAL` when it is no eventfd (then it is closed).
   */
  static adopt(reactor: Reactor, fd: number): EventFd {
    try {
      if (!isEventFd(fd)) {
        throw new OsError('EINVAL', 'readlink', `use ${describeDescriptor(fd)} as an eventfd`);
      }
      setNonBlocking(fd);
    } catch (error) {
      closeStranger(fd);
      throw error;
    }
    return new EventFd(reactor, fd);
  }

  /** -1 after `close`. */
  get fd(): number {
    return this.#fd;
  }

  signal(): void {
    // Every error is the peer's affair: EAGAIN (full, so it is signalled), EPIPE (Node ignores SIGPIPE), EBADF (closed).
    write(this.#fd, one.address, 8);
  }

  watch(ring: () => void): void {
    this.#watch?.end();
    this.#watch = this.#reactor.watch(this.#fd, EPOLLIN | EPOLLET, ring);
  }

  isSame(other: EventPort): boolean {
    const id = eventFdId(this.#fd);
    return id !== undefined && id === eventFdId(other.fd);
  }

  close(): void {
    if (this.#fd === -1) return;
    this.#watch?.end();
    closeFd(this.#fd);
    this.#fd = -1;
  }
}
