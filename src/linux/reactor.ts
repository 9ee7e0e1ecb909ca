import koffi, { type node } from 'koffi';
import { closeFd } from './close-fd.js';
import { check } from './errno.js';
import { epoll_create1, epoll_ctl, epoll_wait } from './libc.js';
import { NativeBuffer } from './native-buffer.js';

const EPOLL_CLOEXEC = 0o2000000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLL_CTL_MOD = 3;

export const EPOLLIN = 0x001;
export const EPOLLOUT = 0x004;
export const EPOLLET: number = 2 ** 31;

// struct epoll_event {u32 events; u64 data} is packed on x86-64 and nowhere else.
const DATA = process.arch === 'x64' ? 4 : 8;
const EVENT_SIZE = DATA + 8;
const BATCH = 64;

/** One descriptor that a reactor watches. */
export interface Watch {
  /** Replaces the events it waits for. Nothing after `end`. */
  change(events: number): void;
  /** Keeps the process alive (as it does from the start). Safe to call twice. */
  ref(): void;
  /** Lets the process end although this is watched. Safe to call twice. */
  unref(): void;
  /**
   * Stops watching; to be called before the descriptor is closed, because a peer may hold the same open file, which would
   * go on reporting. There is no callback after this. Safe to call twice.
   */
  end(): void;
}

/**
 * Calls back when file descriptors become ready.
 *
 * All of them are in an epoll set of our own and Node's loop watches only that: a descriptor that a peer chose can then
 * not abort the process, as it could if it were given to libuv. Each callback runs in an immediate of its own, so that
 * promises settle in between and whatever it throws is an uncaught exception like any other.
 */
export class Reactor {
  readonly #epoll = check(epoll_create1(EPOLL_CLOEXEC), 'epoll_create1', 'make an epoll set');
  readonly #event = new NativeBuffer(EVENT_SIZE);
  readonly #ready = new NativeBuffer(BATCH * EVENT_SIZE);
  readonly #watches = new Map<number, FdWatch>();
  // Collected, it would stop polling.
  readonly #poll: node.PollHandle;
  #next = 0;
  /** Events in `#ready`, and which of them comes next. */
  #count = 0;
  #at = 0;
  #holds = 0;
  #closed = false;

  constructor() {
    // Nothing but this may run in here: promises don't settle and a throw is lost in a callback from native code.
    this.#poll = koffi.node.poll(this.#epoll, () => this.#collect());
    this.#poll.unref();
  }

  /**
   * Watches a descriptor, which stays the caller's.
   *
   * @param events - `EPOLLIN` and `EPOLLOUT`; with `EPOLLET`, `ready` is called once for each change, else for as long as it lasts.
   * @param ready - gets the events there were: those asked for, and EPOLLERR and EPOLLHUP.
   * @throws OsError `EPERM` when it can't be waited for (a regular file), `EEXIST` when it is watched already.
   */
  watch(fd: number, events: number, ready: (events: number) => void): Watch {
    const token = this.#next++;
    this.#control(EPOLL_CTL_ADD, fd, events, token);
    const watch = new FdWatch(ready, {
      change: (wanted) => this.#control(EPOLL_CTL_MOD, fd, wanted, token),
      hold: (by) => this.#hold(by),
      end: () => {
        this.#watches.delete(token);
        this.#control(EPOLL_CTL_DEL, fd, 0, token);
      },
    });
    this.#watches.set(token, watch);
    return watch;
  }

  /** Ends all watches. Safe to call twice. */
  close(): void {
    if (this.#closed) return;
    for (const watch of this.#watches.values()) watch.end();
    this.#closed = true;
    this.#poll.close();
    closeFd(this.#epoll);
  }

  #control(operation: number, fd: number, events: number, token: number): void {
    if (this.#closed) throw new TypeError('this reactor was closed');
    this.#event.data.setUint32(0, events, true);
    this.#event.setLong(DATA, token);
    check(epoll_ctl(this.#epoll, operation, fd, this.#event.address), 'epoll_ctl', `watch descriptor ${fd}`);
  }

  #hold(by: 1 | -1): void {
    this.#holds += by;
    if (this.#holds === 0) this.#poll.unref();
    else if (this.#holds === 1 && by === 1) this.#poll.ref();
  }

  #collect(): void {
    // What was collected before comes first; the set stays ready, so this is called again.
    if (this.#at < this.#count) return;
    this.#at = 0;
    this.#count = Math.max(0, epoll_wait(this.#epoll, this.#ready.address, BATCH, 0));
    for (let i = 0; i < this.#count; i++) setImmediate(this.#dispatch);
  }

  /** The next event that was collected. One function for all, so that none is made for each. */
  readonly #dispatch = (): void => {
    const at = this.#at * EVENT_SIZE;
    this.#at += 1;
    const { data } = this.#ready;
    const token = data.getUint32(at + DATA, true) + data.getUint32(at + DATA + 4, true) * 0x1_0000_0000;
    this.#watches.get(token)?.dispatch(data.getUint32(at, true));
  };
}

interface Registration {
  change(events: number): void;
  hold(by: 1 | -1): void;
  end(): void;
}

class FdWatch implements Watch {
  readonly #ready: (events: number) => void;
  readonly #registration: Registration;
  #held = false;
  #ended = false;

  constructor(ready: (events: number) => void, registration: Registration) {
    this.#ready = ready;
    this.#registration = registration;
    this.ref();
  }

  /** An earlier callback of the same round may have ended it. */
  dispatch(events: number): void {
    if (!this.#ended) this.#ready(events);
  }

  change(events: number): void {
    if (!this.#ended) this.#registration.change(events);
  }

  ref(): void {
    if (this.#held || this.#ended) return;
    this.#held = true;
    this.#registration.hold(1);
  }

  unref(): void {
    if (!this.#held) return;
    this.#held = false;
    this.#registration.hold(-1);
  }

  end(): void {
    if (this.#ended) return;
    this.unref();
    this.#ended = true;
    this.#registration.end();
  }
}
