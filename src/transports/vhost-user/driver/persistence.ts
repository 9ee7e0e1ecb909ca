import type { Alarm, Clock } from '../../../virtio/clock.js';
import { TransportError } from '../../../virtio/driver-transport.js';

/** ns between two attempts: at first, and at most. */
const FIRST = 5e6;
const MOST = 250e6;

/** Tries until it works: whoever listened is gone, or the next one is gone too. */
export class Persistence {
  readonly #clock: Clock;
  #stopped = false;
  #alarm: Alarm | undefined;
  #wake: () => void = () => {};

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get stopped(): boolean {
    return this.#stopped;
  }

  /**
   * @param window - ns in which it has to work.
   * @throws TransportError when it took too long, was stopped, or something else is wrong than that nobody is there.
   */
  async run(attempt: () => Promise<void>, window: number): Promise<void> {
    const until = this.#clock.now() + window;
    for (let pause = FIRST; !this.#stopped; pause = Math.min(2 * pause, MOST)) {
      let why: Error;
      try {
        await attempt();
        return;
      } catch (error) {
        if (!isAbsence(error)) throw error;
        why = error as Error;
      }
      const left = until - this.#clock.now();
      if (left <= 0) {
        const text = `the back-end is gone, and no other came within ${window / 1e9} s: ${why.message}`;
        throw new TransportError('LOST', text);
      }
      if (!this.#stopped) await this.#passed(Math.min(pause, left));
    }
    throw new TransportError('LOST', 'the front-end was closed');
  }

  /** Nobody wants it any more. */
  stop(): void {
    this.#stopped = true;
    this.#alarm?.close();
    this.#wake();
  }

  #passed(duration: number): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
      this.#alarm = this.#clock.alarm(() => {
        this.#alarm?.close();
        resolve();
      });
      this.#alarm.set(this.#clock.now() + duration);
    });
  }
}

/** Whether there is nobody, or nobody any more. */
function isAbsence(error: unknown): boolean {
  return error instanceof TransportError
    ? ['LOST', 'TIMEOUT'].includes(error.code)
    : (error as Error).name === 'OsError';
}
