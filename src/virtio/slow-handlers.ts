import type { Alarm } from './clock.js';
import type { DeviceHost } from './device.js';

/** ns after which a handler is named that has not settled. */
const SLOW = 5e9;

/** What is under way on one queue. */
interface Queue {
  /** Requests that came since the last look, and before. */
  young: number;
  old: number;
  named: boolean;
}

/**
 * Names a queue, once, whose handler has not settled for some seconds. It looks at numbers only, each few seconds while something is
 * under way, so that a request costs it nothing but counting.
 */
export class SlowHandlers {
  readonly #host: DeviceHost;
  readonly #queues: readonly Queue[];
  #alarm: Alarm | undefined;
  #armed = false;
  #looks = 0;

  constructor(host: DeviceHost) {
    this.#host = host;
    this.#queues = host.queues.map(() => ({ young: 0, old: 0, named: false }));
  }

  /** @returns what to settle it with. */
  started(index: number): number {
    this.#queues[index]!.young += 1;
    if (!this.#armed) {
      this.#armed = true;
      this.#alarm ??= this.#host.clock.alarm(() => this.#look());
      this.#alarm.set(this.#host.clock.now() + SLOW);
    }
    return this.#looks;
  }

  settled(index: number, started: number): void {
    const queue = this.#queues[index]!;
    if (started === this.#looks) queue.young -= 1;
    else queue.old -= 1;
  }

  #look(): void {
    this.#looks += 1;
    let more = false;
    for (const [index, queue] of this.#queues.entries()) {
      if (queue.old > 0 && !queue.named) {
        queue.named = true;
        const { name } = this.#host.queues[index]!;
        this.#host.warn(
          `the handler of ${name} has not settled for more than ${SLOW / 1e9} s: its request comes back when it does`,
          { queue: name },
        );
      }
      queue.old += queue.young;
      queue.young = 0;
      if (queue.old > 0 && !queue.named) more = true;
    }
    this.#armed = more;
    if (more) this.#alarm!.set(this.#host.clock.now() + SLOW);
  }
}
