/** One timer, armed or expired and not delivered. Times are nanoseconds. */
interface Timer {
  readonly id: number;
  /** When it expires, or (undelivered) when it first did since the last delivery. */
  deadline: number;
  /** 0 for a one-shot timer. */
  readonly interval: number;
  /** Arming order, which decides between equal deadlines. */
  readonly order: number;
  /** Place in the heap; -1 when it is not armed. */
  place: number;
}

/** An expiry that is ready to be told to the driver. */
export interface Expiry {
  readonly id: number;
  /** ns, of the first expiration that this one tells of. */
  readonly deadline: number;
  /** Expirations since the last delivery: 1 for a one-shot timer. */
  readonly expirations: number;
}

/**
 * Timers by id, in deadline order. It knows numbers only: whoever owns it says what time it is. A timer that expired
 * leaves the heap and waits for delivery; a periodic one is armed again by its delivery, which counts what it missed, so
 * neither memory nor work grows while nobody takes expiries.
 */
export class Timers {
  readonly #byId = new Map<number, Timer>();
  /** A binary heap by deadline. */
  readonly #armed: Timer[] = [];
  /** In deadline order, since a Map keeps the order of insertion. */
  readonly #undelivered = new Map<number, Timer>();
  #order = 0;

  /** Timers that are armed or undelivered. */
  get size(): number {
    return this.#byId.size;
  }

  /** Whether an expiry waits for delivery. */
  get hasExpired(): boolean {
    return this.#undelivered.size > 0;
  }

  /** The earliest deadline among the armed, in ns. */
  get next(): number | undefined {
    return this.#armed[0]?.deadline;
  }

  has(id: number): boolean {
    return this.#byId.has(id);
  }

  /** @param id - not in use (`has`). */
  arm(id: number, deadline: number, interval: number): void {
    const timer: Timer = { id, deadline, interval, order: this.#order++, place: -1 };
    this.#byId.set(id, timer);
    this.#insert(timer);
  }

  /** Forgets a timer, armed or undelivered. @returns whether there was one. */
  cancel(id: number): boolean {
    const timer = this.#byId.get(id);
    if (timer === undefined) return false;
    this.#byId.delete(id);
    this.#undelivered.delete(id);
    if (timer.place >= 0) this.#removeAt(timer.place);
    return true;
  }

  clear(): void {
    this.#byId.clear();
    this.#undelivered.clear();
    this.#armed.length = 0;
  }

  /** Moves every timer whose deadline has come to the undelivered. */
  expire(now: number): void {
    for (let timer = this.#armed[0]; timer !== undefined && timer.deadline <= now; timer = this.#armed[0]) {
      this.#removeAt(0);
      this.#undelivered.set(timer.id, timer);
    }
  }

  /** Takes the oldest expiry out: its one-shot timer is gone, its periodic one armed for the next whole interval. */
  deliver(now: number): Expiry | undefined {
    for (const timer of this.#undelivered.values()) {
      this.#undelivered.delete(timer.id);
      const { id, deadline, interval } = timer;
      if (interval === 0) {
        this.#byId.delete(id);
        return { id, deadline, expirations: 1 };
      }
      const expirations = 1 + Math.max(0, Math.floor((now - deadline) / interval));
      timer.deadline = deadline + expirations * interval;
      this.#insert(timer);
      return { id, deadline, expirations };
    }
    return undefined;
  }

  #insert(timer: Timer): void {
    timer.place = this.#armed.length;
    this.#armed.push(timer);
    this.#up(timer);
  }

  #removeAt(place: number): void {
    const gone = this.#armed[place]!;
    const last = this.#armed.pop()!;
    gone.place = -1;
    if (last === gone) return;
    last.place = place;
    this.#armed[place] = last;
    this.#up(last);
    this.#down(last);
  }

  #up(timer: Timer): void {
    while (timer.place > 0) {
      const parent = this.#armed[(timer.place - 1) >>> 1]!;
      if (!before(timer, parent)) return;
      this.#swap(timer, parent);
    }
  }

  #down(timer: Timer): void {
    for (;;) {
      const left = this.#armed[2 * timer.place + 1];
      const right = this.#armed[2 * timer.place + 2];
      const least = right !== undefined && before(right, left!) ? right : left;
      if (least === undefined || !before(least, timer)) return;
      this.#swap(timer, least);
    }
  }

  #swap(a: Timer, b: Timer): void {
    const place = a.place;
    a.place = b.place;
    b.place = place;
    this.#armed[a.place] = a;
    this.#armed[b.place] = b;
  }
}

function before(a: Timer, b: Timer): boolean {
  return a.deadline < b.deadline || (a.deadline === b.deadline && a.order < b.order);
}
