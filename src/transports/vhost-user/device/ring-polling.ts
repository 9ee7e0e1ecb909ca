import type { Alarm, Clock } from '../../../virtio/clock.js';
import type { Ring } from './ring.js';

/** How often a ring is looked at whose front-end gave no kick event, in ns. */
const INTERVAL = 1e6;

/** Looks at the rings that nobody kicks. */
export class RingPolling {
  readonly #clock: Clock;
  readonly #rings: readonly Ring[];
  readonly #kick: (index: number) => void;
  #alarm: Alarm | undefined;

  constructor(clock: Clock, rings: readonly Ring[], kick: (index: number) => void) {
    this.#clock = clock;
    this.#rings = rings;
    this.#kick = kick;
  }

  /** Goes on as long as there are such rings. */
  start(): void {
    this.#alarm ??= this.#clock.alarm(() => {
      const polled = this.#rings.filter((ring) => ring.serving && ring.polled);
      for (const ring of polled) this.#kick(ring.index);
      if (polled.length > 0) this.#alarm?.set(this.#clock.now() + INTERVAL);
    });
    this.#alarm.set(this.#clock.now() + INTERVAL);
  }

  close(): void {
    this.#alarm?.close();
  }
}
