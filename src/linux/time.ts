export const CLOCK_MONOTONIC = 1;

/** A point in time on CLOCK_MONOTONIC. */
export interface Time {
  /** Whole seconds. */
  readonly seconds: number;
  /** 0 to 999,999,999. */
  readonly nanoseconds: number;
}

/** What an alarm needs of the clock that it belongs to. */
export interface AlarmClock {
  now(): number;
  /** When `now()` will be `deadline`, rounded up to a nanosecond. */
  absolute(deadline: number): Time;
}
