import type { Alarm, Clock } from './clock.js';
import type { DeviceRunner } from './device-runner.js';

/** What a drain needs of the process. */
export interface DrainPorts {
  readonly clock: Clock;
  /** Calls back soon, from the event loop. */
  defer(callback: () => void): void;
  /** Calls back when what a queue handed back is with its driver, now or later, for queues where that takes its time. */
  returned?(queue: number, done: () => void): void;
  /** `false` to leave a device what it keeps, and wait for what it is about. */
  readonly wanted?: boolean;
}

/** Has a device hand back all chains that it holds, and gives it no more: its queues are held from now on. */
export class Drain {
  readonly #alarm: Alarm;
  readonly #left: Set<number>;
  readonly #done: (late: readonly number[]) => void;
  readonly #runner: DeviceRunner;
  #over = false;

  /**
   * @param wait - ns, at most.
   * @param done - called once, from the event loop, with the queues that are not done with.
   */
  constructor(
    runner: DeviceRunner,
    ports: DrainPorts,
    wait: number,
    done: (late: readonly number[]) => void,
  ) {
    this.#runner = runner;
    this.#done = done;
    this.#alarm = ports.clock.alarm(() => this.#finish());
    this.#alarm.set(ports.clock.now() + wait);
    const queues = Array.from({ length: runner.queueCount }, (_, index) => index);
    this.#left = new Set(queues);
    const one = (index: number): void => {
      this.#left.delete(index);
      if (this.#left.size === 0) ports.defer(() => this.#finish());
    };
    for (const index of queues) runner.holdQueue(index, ports.wanted);
    for (const index of queues) {
      runner.whenDrained(index, () => {
        if (ports.returned === undefined) one(index);
        else ports.returned(index, () => one(index));
      });
    }
    if (queues.length === 0) ports.defer(() => this.#finish());
  }

  /** Nobody is told any more. */
  close(): void {
    this.#over = true;
    this.#alarm.close();
  }

  #finish(): void {
    if (this.#over) return;
    this.close();
    this.#runner.flush();
    this.#done([...this.#left]);
  }
}
