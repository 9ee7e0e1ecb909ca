import type { Alarm, Clock } from '../virtio/clock.js';

/** The clock of a recording: it stands where the recording is, and alarms that are due wait until they are told to ring. */
export class ReplayClock implements Clock {
  #now = 0;
  readonly #alarms = new Set<ReplayAlarm>();

  now(): number {
    return this.#now;
  }

  alarm(ring: () => void): Alarm {
    const alarm = new ReplayAlarm(ring, () => this.#alarms.delete(alarm));
    this.#alarms.add(alarm);
    return alarm;
  }

  /** The recording is here now, ns. */
  moveTo(time: number): void {
    this.#now = Math.max(this.#now, time);
  }

  /** Rings what is due, in the order of deadlines. @returns whether anything was. */
  ring(): boolean {
    let any = false;
    // What an alarm sets at once rings with the next one.
    const due = [...this.#alarms]
      .filter(({ deadline }) => deadline !== undefined && deadline <= this.#now)
      .sort((a, b) => a.deadline! - b.deadline!);
    for (const alarm of due) {
      if (alarm.deadline === undefined || alarm.deadline > this.#now) continue;
      alarm.deadline = undefined;
      any = true;
      alarm.ring();
    }
    return any;
  }
}

class ReplayAlarm implements Alarm {
  deadline: number | undefined;
  readonly ring: () => void;
  readonly #forget: () => void;

  constructor(ring: () => void, forget: () => void) {
    this.ring = ring;
    this.#forget = forget;
  }

  set(deadline: number): void {
    this.deadline = deadline;
  }

  clear(): void {
    this.deadline = undefined;
  }

  close(): void {
    this.deadline = undefined;
    this.#forget();
  }
}
