/**
 * A monotonic clock, given to a device so that tests can run on a fake one. Nanoseconds since the clock's own start, as
 * a number: exact for 104 days, then in steps of 2 ns and more.
 */
export interface Clock {
  /**
   * When it was 0, in ns of a clock that all processes of this machine have: so that another process can tell its times. Absent where there is
   * no such clock, or it is that clock.
   */
  readonly origin?: number;
  /** Nanoseconds since the clock's start; never goes back. */
  now(): number;
  /** Makes an alarm, unset. `ring` is called once for each `set` that is not replaced or cleared, and never early. */
  alarm(ring: () => void): Alarm;
}

/** One alarm of a clock. */
export interface Alarm {
  /** Rings when `now()` reaches `deadline` (ns); at once (but not from inside this call) when that is past. Replaces an earlier `set`. */
  set(deadline: number): void;
  /** Forgets the deadline: does not ring after this. */
  clear(): void;
  /** Clears it and gives back what it holds. */
  close(): void;
}
