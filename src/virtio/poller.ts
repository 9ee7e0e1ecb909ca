/** What is looked at: a queue of a device. */
export interface Polled {
  /** Kicks are not needed from now on. @returns `false` when there is nothing to look at. */
  begin(): boolean;
  /** Serves what is there. @returns how many requests that were. */
  look(): number;
  /** After a look: more of them are of no use. */
  readonly enough: boolean;
  /** After a look: the device answers later, from a promise perhaps. */
  readonly owing: boolean;
  /** Asks for kicks again. @returns `true` when something came in before they were: it goes on being looked at. */
  rest(): boolean;
}

/** What a poller needs of the process. Times are in ns. */
export interface PollerPorts {
  now(): number;
  /** Calls back from the event loop, after all else that waits had its turn. */
  soon(callback: () => void): void;
}

/** How long is looked without a pause for the event loop: timers and sockets are that much late. */
const SLICE = 100_000;
/** How many requests are served before promises settle and the time is looked at, both of which cost as much as a small request. */
const BATCH = 32;
/** Without a time: how long is looked at first, and at most. */
const FIRST = 10_000;
const MOST = 200_000;

/**
 * Looks at queues in shared memory all the time, for a while after each request, instead of waiting for kicks: one that comes
 * meanwhile costs no system call and no wake-up. All queues of a process take turns; promises settle at least every 32 requests, and at
 * once when a device owes an answer; the event loop has its turn every 100 us.
 */
export class Poller {
  readonly #ports: PollerPorts;
  readonly #spinning: Spin[] = [];
  #running = false;

  constructor(ports: PollerPorts) {
    this.#ports = ports;
  }

  /**
   * Nothing is looked at before the first `worked`.
   *
   * @param window - ns from the last request until the queue is let rest. Unless told it grows (to 200 us) while requests come so soon
   * after one another that polling would have met them, and is zero while they do not.
   */
  spin(polled: Polled, window?: number): Spin {
    return new Spin(polled, window, {
      now: () => this.#ports.now(),
      started: (spin) => {
        this.#spinning.push(spin);
        if (this.#running) return;
        this.#running = true;
        this.#ports.soon(this.#turn);
      },
    });
  }

  readonly #turn = (): void => {
    this.#slice().catch((error: unknown) => {
      // A mistake of our own: it is an uncaught exception like any other, and the others are looked at on.
      this.#ports.soon(this.#turn);
      this.#ports.soon(() => {
        throw error;
      });
    });
  };

  async #slice(): Promise<void> {
    const { now } = this.#ports;
    const spinning = this.#spinning;
    let time = now();
    const ends = time + SLICE;
    let served = 0;
    do {
      let found = 0;
      let owing = false;
      for (let i = spinning.length - 1; i >= 0; i--) {
        const spin = spinning[i]!;
        found += spin.look(time);
        if (spin.resting) spinning.splice(i, 1);
        else if (spin.owing) owing = true;
      }
      served += found;
      if (found > 0 && served < BATCH && !owing) continue;
      if (served > 0 || owing) await undefined;
      served = 0;
      time = now();
    } while (spinning.length > 0 && time < ends);
    if (spinning.length > 0) this.#ports.soon(this.#turn);
    else this.#running = false;
  }
}

interface SpinPorts {
  now(): number;
  started(spin: Spin): void;
}

/** One queue under a poller. */
export class Spin {
  readonly #polled: Polled;
  readonly #fixed: boolean;
  readonly #ports: SpinPorts;
  #window: number;
  #resting = true;
  #ended = false;
  /** When there was something last, as far as known. */
  #last = -Infinity;

  constructor(polled: Polled, window: number | undefined, ports: SpinPorts) {
    this.#polled = polled;
    this.#fixed = window !== undefined;
    this.#window = window ?? 0;
    this.#ports = ports;
  }

  /** Whether it waits for a kick. */
  get resting(): boolean {
    return this.#resting;
  }

  /** It was kicked, and served. */
  worked(): void {
    if (!this.#resting || this.#ended) return;
    const now = this.#ports.now();
    if (!this.#fixed) this.#adapt(now - this.#last);
    this.#last = now;
    if (this.#window === 0 || !this.#polled.begin()) return;
    this.#resting = false;
    this.#ports.started(this);
  }

  /** Whether its device answers later. */
  get owing(): boolean {
    return this.#polled.owing;
  }

  /** @returns how many requests were served. */
  look(now: number): number {
    if (this.#resting) return 0;
    if (this.#ended) {
      this.#resting = true;
      return 0;
    }
    const found = this.#polled.look();
    if (found > 0) this.#last = now;
    if (this.#polled.enough || (found === 0 && now - this.#last >= this.#window)) {
      this.#resting = !this.#polled.rest();
    }
    return found;
  }

  /** Nothing is looked at any more. */
  end(): void {
    this.#ended = true;
  }

  /** @param wait - from the last request to this one, which needed a kick. */
  #adapt(wait: number): void {
    if (wait > MOST) this.#window = 0;
    else this.#window = Math.min(Math.max(2 * this.#window, FIRST), MOST);
  }
}
