import type { Alarm, Clock } from './clock.js';

/** `setTimeout`'s longest delay, ms. */
const LONGEST = 0x7fff_ffff;

/**
 * A clock of JavaScript's own event loop, for where there is no better one (loopback on any operating system). Alarms are
 * late by a millisecond or so, never early.
 */
export class EventLoopClock implements Clock {
  now(): number {
    return performance.now() * 1e6;
  }

  alarm(ring: () => void): Alarm {
    let deadline: number | undefined;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const clear = (): void => {
      deadline = undefined;
      clearTimeout(timer);
    };
    const wait = (): void => {
      const ms = Math.ceil((deadline! - this.now()) / 1e6);
      timer = setTimeout(check, Math.min(Math.max(ms, 0), LONGEST));
    };
    // A timeout may be early by less than a millisecond, or be only a part of a long wait.
    const check = (): void => {
      if (this.now() < deadline!) {
        wait();
        return;
      }
      deadline = undefined;
      ring();
    };
    return {
      set(at) {
        clear();
        deadline = at;
        wait();
      },
      clear,
      close: clear,
    };
  }
}
