import type { Alarm } from '../virtio/clock.js';
import { closeFd } from './close-fd.js';
import { check } from './errno.js';
import { timerfd_create, timerfd_settime } from './libc.js';
import { NativeBuffer } from './native-buffer.js';
import { EPOLLET, EPOLLIN, type Reactor, type Watch } from './reactor.js';
import { type AlarmClock, CLOCK_MONOTONIC } from './time.js';

const TFD_NONBLOCK = 0o4000;
const TFD_CLOEXEC = 0o2000000;
const TFD_TIMER_ABSTIME = 1;

/** The latest time that a timerfd knows, in ns: 292 years after the machine started, so it never comes. */
const NEVER = 2 ** 63;

// struct itimerspec {struct timespec interval, value;}; the interval stays zero.
const VALUE_SECONDS = 16;
const VALUE_NANOSECONDS = 24;
const setting = new NativeBuffer(32);

/** An alarm on a timerfd of its own, which keeps the process alive while it is set. Watched on its edges, it needs no read. */
export class TimerAlarm implements Alarm {
  readonly #clock: AlarmClock;
  readonly #ring: () => void;
  readonly #fd: number;
  readonly #watch: Watch;
  #deadline: number | undefined;
  #closed = false;

  constructor(reactor: Reactor, clock: AlarmClock, ring: () => void) {
    this.#clock = clock;
    this.#ring = ring;
    this.#fd = check(
      timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC),
      'timerfd_create',
      'make a timer',
    );
    try {
      this.#watch = reactor.watch(this.#fd, EPOLLIN | EPOLLET, () => this.#expired());
    } catch (error) {
      closeFd(this.#fd);
      throw error;
    }
    this.#watch.unref();
  }

  /** @throws RangeError for a deadline that is no number. */
  set(deadline: number): void {
    if (Number.isNaN(deadline)) throw new RangeError('an alarm needs a deadline in ns');
    if (this.#closed) throw new TypeError('this alarm was closed');
    this.#deadline = deadline;
    this.#arm(deadline);
    this.#watch.ref();
  }

  clear(): void {
    if (this.#deadline === undefined) return;
    this.#deadline = undefined;
    this.#program(0, 0);
    this.#watch.unref();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#deadline = undefined;
    this.#watch.end();
    closeFd(this.#fd);
  }

  #expired(): void {
    // Set anew or cleared since it expired.
    if (this.#deadline === undefined) return;
    if (this.#clock.now() < this.#deadline) {
      this.#arm(this.#deadline);
      return;
    }
    this.#deadline = undefined;
    this.#watch.unref();
    this.#ring();
  }

  #arm(deadline: number): void {
    const { seconds, nanoseconds } = this.#clock.absolute(Math.min(Math.max(0, deadline), NEVER));
    this.#program(seconds, nanoseconds);
  }

  #program(seconds: number, nanoseconds: number): void {
    setting.setLong(VALUE_SECONDS, seconds);
    setting.setLong(VALUE_NANOSECONDS, nanoseconds);
    check(timerfd_settime(this.#fd, TFD_TIMER_ABSTIME, setting.address, 0), 'timerfd_settime', 'set a timer');
  }
}
