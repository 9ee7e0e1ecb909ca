import type { Alarm, Clock } from './clock.js';
import type { ClockState } from './kept-clock.js';

/**
 * The clock as one device sees it: it stands still while the guest does, as a VMM's virtual clock does, and its alarms
 * ring inside a guard of whoever runs the device.
 */
export class DeviceClock implements Clock {
  readonly #real: Clock;
  readonly #guard: (ring: () => void) => void;
  readonly #alarms = new Set<DeviceAlarm>();
  /** Nanoseconds of the real clock that did not pass for the device. */
  #lost = 0;
  #stoppedAt: number | undefined;

  /** @param before - the clock whose time this one goes on with. */
  constructor(real: Clock, guard: (ring: () => void) => void, before?: DeviceClock) {
    this.#real = real;
    this.#guard = guard;
    if (before === undefined) return;
    this.#lost = before.#lost;
    this.#stoppedAt = before.#stoppedAt;
  }

  /** What the clock of another process goes on from. */
  get state(): ClockState {
    if (this.#stoppedAt !== undefined) return { running: false, ns: this.#stoppedAt - this.#lost };
    return { running: true, ns: (this.#real.origin ?? 0) + this.#lost };
  }

  /** Goes on from there. No alarm was made yet. */
  goOn({ running, ns }: ClockState): void {
    if (running) {
      this.#stoppedAt = undefined;
      this.#lost = ns - (this.#real.origin ?? 0);
    } else {
      this.#stoppedAt = this.#real.now();
      this.#lost = this.#stoppedAt - ns;
    }
  }

  now(): number {
    return (this.#stoppedAt ?? this.#real.now()) - this.#lost;
  }

  alarm(ring: () => void): Alarm {
    const real = this.#real.alarm(() => {
      alarm.deadline = undefined;
      this.#guard(ring);
    });
    const alarm = new DeviceAlarm(real, (deadline) => {
      if (this.#stoppedAt === undefined) real.set(deadline + this.#lost);
    });
    alarm.closed = () => this.#alarms.delete(alarm);
    this.#alarms.add(alarm);
    return alarm;
  }

  /** Time stops. */
  pause(): void {
    if (this.#stoppedAt !== undefined) return;
    this.#stoppedAt = this.#real.now();
    for (const alarm of this.#alarms) alarm.suspend();
  }

  /** Time goes on where it stopped. */
  resume(): void {
    if (this.#stoppedAt === undefined) return;
    this.#lost += this.#real.now() - this.#stoppedAt;
    this.#stoppedAt = undefined;
    for (const alarm of this.#alarms) if (alarm.deadline !== undefined) alarm.set(alarm.deadline);
  }

  /** Closes every alarm that the device left. */
  close(): void {
    for (const alarm of this.#alarms) alarm.close();
  }
}

class DeviceAlarm implements Alarm {
  deadline: number | undefined;
  closed: () => void = () => {};
  readonly #real: Alarm;
  readonly #arm: (deadline: number) => void;
  #closed = false;

  constructor(real: Alarm, arm: (deadline: number) => void) {
    this.#real = real;
    this.#arm = arm;
  }

  set(deadline: number): void {
    // What still runs of a device that was reset or replaced has no time left, and need not know.
    if (this.#closed) return;
    this.deadline = deadline;
    this.#arm(deadline);
  }

  clear(): void {
    if (this.#closed) return;
    this.deadline = undefined;
    this.#real.clear();
  }

  suspend(): void {
    this.#real.clear();
  }

  close(): void {
    this.#closed = true;
    this.deadline = undefined;
    this.#real.close();
    this.closed();
  }
}
