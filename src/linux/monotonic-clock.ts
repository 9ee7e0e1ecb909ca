import type { Alarm, Clock } from '../virtio/clock.js';
import { clock_gettime } from './libc.js';
import { NativeBuffer } from './native-buffer.js';
import type { Reactor } from './reactor.js';
import { type AlarmClock, CLOCK_MONOTONIC, type Time } from './time.js';
import { TimerAlarm } from './timer-alarm.js';

const NS_PER_S = 1e9;

/**
 * CLOCK_MONOTONIC, counted from when this clock was made.
 *
 * It is read through the C library: the same clock as the timerfds', to the nanosecond, at 55 ns a reading with no
 * allocation. `performance.now()` takes 46 ns but hides its start, and `process.hrtime` allocates.
 */
export class MonotonicClock implements Clock, AlarmClock {
  readonly #reactor: Reactor;
  /** struct timespec {long seconds, nanoseconds;} */
  readonly #time = new NativeBuffer(16);
  readonly #start: Time;

  constructor(reactor: Reactor) {
    this.#reactor = reactor;
    this.#read();
    this.#start = { seconds: this.#seconds(), nanoseconds: this.#nanoseconds() };
  }

  get origin(): number {
    return this.#start.seconds * NS_PER_S + this.#start.nanoseconds;
  }

  now(): number {
    this.#read();
    const { seconds, nanoseconds } = this.#start;
    return (this.#seconds() - seconds) * NS_PER_S + (this.#nanoseconds() - nanoseconds);
  }

  alarm(ring: () => void): Alarm {
    return new TimerAlarm(this.#reactor, this, ring);
  }

  /** When `now()` will be `deadline`, rounded up to a nanosecond. */
  absolute(deadline: number): Time {
    const rest = deadline % NS_PER_S;
    const nanoseconds = this.#start.nanoseconds + Math.ceil(rest);
    const seconds = this.#start.seconds + (deadline - rest) / NS_PER_S;
    const carry = Math.floor(nanoseconds / NS_PER_S);
    return { seconds: seconds + carry, nanoseconds: nanoseconds - carry * NS_PER_S };
  }

  #read(): void {
    clock_gettime(CLOCK_MONOTONIC, this.#time.address);
  }

  #seconds(): number {
    const { data } = this.#time;
    return data.getUint32(0, true) + data.getUint32(4, true) * 0x1_0000_0000;
  }

  #nanoseconds(): number {
    return this.#time.data.getUint32(8, true);
  }
}
