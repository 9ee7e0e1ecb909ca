import type { Alarm, Clock } from './clock.js';

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

  constructor(real: Clock, guard: (ring: () => void) => void) {
    this.#real = real;
    this.#guard = guard;
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

  constructor(real: Alarm, arm: (deadline: number) => void) {
    this.#real = real;
    this.#arm = arm;
  }

  set(deadline: number): void {
    this.deadline = deadline;
    this.#arm(deadline);
  }

  clear(): void {
    this.deadline = undefined;
    this.#real.clear();
  }

  suspend(): void {
    this.#real.clear();
  }

  close(): void {
    this.deadline = undefined;
    this.#real.close();
    this.closed();
  }
}
