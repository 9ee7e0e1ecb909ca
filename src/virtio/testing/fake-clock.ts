import type { Alarm, Clock } from '../clock.js';

/** A clock that stands still until told: alarms ring from `advance`, in deadline order, at their own time. */
export class FakeClock implements Clock {
  #now: number;
  readonly #alarms = new Set<FakeAlarm>();

  /** @param now - ns. */
  constructor(now = 0) {
    this.#now = now;
  }

  now(): number {
    return this.#now;
  }

  alarm(ring: () => void): Alarm {
    const alarm = new FakeAlarm(ring, () => this.#alarms.delete(alarm));
    this.#alarms.add(alarm);
    return alarm;
  }

  /** Alarms that were made and not closed. */
  get open(): number {
    return this.#alarms.size;
  }

  /** When the next alarm rings, if one is set. */
  get next(): number | undefined {
    const deadlines = [...this.#alarms].flatMap(({ deadline }) => (deadline === undefined ? [] : [deadline]));
    return deadlines.length === 0 ? undefined : Math.min(...deadlines);
  }

  /** Lets `ns` pass, and rings what falls due in it, what alarms set meanwhile too. */
  advance(ns: number): void {
    const end = this.#now + ns;
    for (;;) {
      let due: FakeAlarm | undefined;
      for (const alarm of this.#alarms) {
        if (
          alarm.deadline !== undefined &&
          alarm.deadline <= end &&
          alarm.deadline < (due?.deadline ?? Infinity)
        )
          due = alarm;
      }
      if (due?.deadline === undefined) break;
      this.#now = Math.max(this.#now, due.deadline);
      due.deadline = undefined;
      due.ring();
    }
    this.#now = end;
  }
}

class FakeAlarm implements Alarm {
  deadline: number | undefined;
  readonly ring: () => void;
  readonly #forget: () => void;
  #closed = false;

  constructor(ring: () => void, forget: () => void) {
    this.ring = ring;
    this.#forget = forget;
  }

  close(): void {
    this.#closed = true;
    this.#forget();
  }

  set(deadline: number): void {
    if (this.#closed) throw new TypeError('this alarm was closed');
    this.deadline = deadline;
  }

  clear(): void {
    this.deadline = undefined;
  }
}
