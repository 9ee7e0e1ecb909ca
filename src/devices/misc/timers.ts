import { IdTable } from './id-table.js';
import { FLOATS, ID, INTERVAL, INTS, NUMBER } from './timer-lists.js';
import { DUE, NEVER, TimerWheel } from './timer-wheel.js';

/** An expiry that is told to the driver. */
export interface Expiry {
  readonly id: number;
  /** ns, of the first expiration that this one tells of. */
  readonly deadline: number;
  /** Expirations since the last delivery: 1 for a one-shot timer. */
  readonly expirations: number;
  /** ns, when it expires next; `undefined` for a one-shot timer. */
  readonly next: number | undefined;
}

/** Timers that are gone but still lie in a list, and are not worth a search. */
const FEW_GONE = 1024;
/** Calls between two sweeps, times how many timers are gone for each that is not. */
const SWEEP_AFTER = 24;

/**
 * Timers by id, in deadline order; equal deadlines in the order in which they were set, a periodic timer with each of its deliveries anew.
 * It knows numbers only: whoever owns it says what time it is. Times are whole nanoseconds, exact up to 2^53; a later deadline is at most
 * 1 part in 2^50 late, and one from 2^63 on never comes.
 *
 * Each call but `trim` takes constant time, but for what grows with the number of timers, which is paid for by as many calls. A timer that
 * is cancelled or delivered leaves the table at once; where it lay in the wheel it is passed over, or swept up when most that lies there is gone.
 */
export class Timers {
  readonly #byId = new IdTable();
  #wheel: TimerWheel | undefined;
  /** The number of the last timer set: by it an entry of the wheel is known to be the timer of its id. */
  #number = 0;
  /** Where the search for timers that are gone goes on. */
  #swept = 0;
  #waited = 0;
  /** Whether the next deadline may be one of a timer that was cancelled. */
  #doubtful = false;
  /** The last chunk whose timers were looked up in a row. */
  #lookedUp = 0;
  /** The place in the table of the first that is due, where it was looked for and nothing changed since; or -1. */
  #expired = -1;
  readonly #expiry: { -readonly [K in keyof Expiry]: Expiry[K] } = {
    id: 0,
    deadline: 0,
    expirations: 0,
    next: undefined,
  };

  /** Timers that are armed or undelivered. */
  get size(): number {
    return this.#byId.size;
  }

  /** Bytes that all of it takes. */
  get bytes(): number {
    return this.#byId.bytes + (this.#wheel?.bytes ?? 0);
  }

  /** Whether it has far more memory than it needs: so it is after a peak, until `trim`. */
  get hasSpare(): boolean {
    return this.#byId.hasSpare || this.#wheel?.lists.hasSpare === true;
  }

  /** Gives memory back. Having it again costs more than all else, so it is not done as soon as it could be. */
  trim(): void {
    this.#expired = -1;
    this.#byId.trim();
    this.#wheel?.lists.trim();
  }

  /** Whether an expiry waits for delivery. */
  get hasExpired(): boolean {
    return this.#wheel !== undefined && this.#findExpired(this.#wheel) >= 0;
  }

  /** The earliest deadline of those that `expire` did not find yet, in ns: or a time before, once, if that one was cancelled. */
  get next(): number | undefined {
    const wheel = this.#wheel;
    if (wheel === undefined) return undefined;
    while (this.#doubtful) {
      const chunk = wheel.nextChunk;
      this.#doubtful = chunk !== 0 && this.#sweep(wheel, chunk);
    }
    const { next } = wheel;
    return next === Infinity ? undefined : next;
  }

  has(id: number): boolean {
    return this.#byId.get(id | 0) !== 0;
  }

  /**
   * @param deadline - ns, not before the `now` of an earlier `expire`.
   * @returns whether it was set: not when the id is in use.
   */
  arm(id: number, deadline: number, interval: number): boolean {
    this.#wheel ??= new TimerWheel();
    this.#number = (this.#number + 1) | 0 || 1;
    if (!this.#byId.add(id | 0, this.#number)) return false;
    this.#expired = -1;
    this.#wheel.add(later(deadline), interval, id | 0, this.#number);
    return true;
  }

  /** Forgets a timer, armed or undelivered. @returns whether there was one. */
  cancel(id: number): boolean {
    if (!this.#byId.delete(id | 0)) return false;
    this.#expired = -1;
    this.#doubtful = true;
    this.#tidy();
    return true;
  }

  clear(): void {
    this.#expired = -1;
    this.#byId.clear();
    this.#wheel = undefined;
    this.#doubtful = false;
  }

  /** Each timer, armed or undelivered, in the order in which they are due. What it is called with may not change anything here. */
  forEach(each: (id: number, deadline: number, interval: number) => void): void {
    const wheel = this.#wheel;
    if (wheel === undefined) return;
    const { lists } = wheel;
    const found: { id: number; deadline: number; interval: number }[] = [];
    // Those that are due are in order, and before all others; equal deadlines are in one list, in order.
    for (let i = 0; i <= NEVER; i++) {
      const list = i === 0 ? DUE : i <= DUE ? i - 1 : i;
      for (let chunk = lists.first(list); chunk !== 0; chunk = lists.after(chunk)) {
        const floats = lists.floatsOf(chunk);
        const ints = lists.intsOf(chunk);
        const base = lists.base(chunk);
        for (let at = base + lists.start(chunk); at < base + lists.end(chunk); at++) {
          const id = ints[INTS * at + ID]!;
          if (this.#byId.get(id) !== ints[INTS * at + NUMBER]) continue;
          const deadline = floats[FLOATS * at]!;
          found.push({ id: id >>> 0, deadline, interval: floats[FLOATS * at + INTERVAL]! });
        }
      }
    }
    found.sort((a, b) => a.deadline - b.deadline);
    for (const { id, deadline, interval } of found) each(id, deadline, interval);
  }

  /**
   * Finds timers whose deadline has come, a few at a time: those that the next deliveries take.
   *
   * @param work - how many timers may be looked at, about.
   * @returns what is left of that; 0 or less when there may be more that have expired.
   */
  expire(now: number, work: number): number {
    const wheel = this.#wheel;
    if (wheel === undefined) return work;
    let left = work;
    do {
      left = wheel.expire(Math.floor(now), left);
      if (wheel.lists.isEmpty(DUE)) return left;
    } while (left > 0 && !this.hasExpired);
    return left;
  }

  /**
   * Takes the oldest expiry out: its one-shot timer is gone, its periodic one armed for the next whole interval.
   *
   * @returns it, until the next call; `undefined` when none waits.
   */
  deliver(now: number): Expiry | undefined {
    const wheel = this.#wheel;
    const place = wheel === undefined ? -1 : this.#findExpired(wheel);
    if (wheel === undefined || place < 0) return undefined;
    this.#expired = -1;
    const { lists } = wheel;
    const chunk = lists.first(DUE);
    const entry = lists.start(chunk);
    const at = lists.base(chunk) + entry;
    const floats = lists.floatsOf(chunk);
    const ints = lists.intsOf(chunk);
    const id = ints[INTS * at + ID]!;
    const deadline = floats[FLOATS * at]!;
    const interval = floats[FLOATS * at + INTERVAL]!;
    const number = ints[INTS * at + NUMBER]!;
    if (!lists.dropBefore(chunk, entry + 1)) this.#lookedUp = 0;
    const expiry = this.#expiry;
    expiry.id = id >>> 0;
    expiry.deadline = deadline;
    expiry.expirations = 1;
    expiry.next = undefined;
    if (interval === 0) {
      this.#byId.deleteAt(place);
      this.#tidy();
      return expiry;
    }
    const late = Math.max(0, now - deadline);
    expiry.expirations += Math.floor(late / interval);
    const next =
      expiry.expirations === 1 ? deadline + interval : Math.ceil(now + interval - (late % interval));
    expiry.next = later(next);
    wheel.add(expiry.next, interval, id, number);
    return expiry;
  }

  /** Passes over what is gone. @returns the place in the table of the first that is due, or -1. */
  #findExpired(wheel: TimerWheel): number {
    if (this.#expired >= 0) return this.#expired;
    const { lists } = wheel;
    for (let chunk = lists.first(DUE); chunk !== 0; chunk = lists.first(DUE)) {
      if (chunk !== this.#lookedUp) {
        // The table's memory is not in the processor's cache: timers looked up in a row are waited for together.
        this.#lookedUp = chunk;
        if (this.#sweep(wheel, chunk)) continue;
      }
      const entry = lists.start(chunk);
      const ints = lists.intsOf(chunk);
      const at = INTS * (lists.base(chunk) + entry);
      const place = this.#byId.find(ints[at + ID]!);
      if (place >= 0 && this.#byId.numberAt(place) === ints[at + NUMBER]) {
        this.#expired = place;
        return place;
      }
      if (!lists.dropBefore(chunk, entry + 1)) this.#lookedUp = 0;
    }
    return -1;
  }

  /** Keeps what takes memory in proportion to the timers that there are. */
  #tidy(): void {
    const { size } = this.#byId;
    const wheel = this.#wheel!;
    const gone = wheel.lists.size - size;
    if (size === 0 && gone > FEW_GONE) {
      wheel.clear();
      this.#doubtful = false;
      return;
    }
    if (gone > 3 * size + FEW_GONE) this.#sweepOn(wheel, gone / (size + FEW_GONE));
  }

  /** Sweeps a chunk now and then: the oftener, the more there is that is gone, for each that is not. */
  #sweepOn(wheel: TimerWheel, excess: number): void {
    this.#waited += excess;
    if (this.#waited < SWEEP_AFTER) return;
    this.#waited = 0;
    for (let looked = 0; looked < 16; looked++) {
      this.#swept += 1;
      if (this.#swept >= wheel.lists.chunks) this.#swept = 0;
      else if (wheel.lists.listOf(this.#swept) >= 0) {
        this.#sweep(wheel, this.#swept);
        return;
      }
    }
  }

  /** Takes out of a chunk what is gone. @returns whether any was. */
  #sweep(wheel: TimerWheel, chunk: number): boolean {
    const { lists } = wheel;
    let kept = 0;
    let gone = false;
    const ints = lists.intsOf(chunk);
    const base = lists.base(chunk);
    for (let entry = lists.start(chunk); entry < lists.end(chunk); entry++) {
      const at = INTS * (base + entry);
      if (this.#byId.get(ints[at + ID]!) === ints[at + NUMBER]) kept |= 1 << entry;
      else gone = true;
    }
    if (gone) wheel.keep(chunk, kept);
    return gone;
  }
}

/** A deadline as a whole number that is not before it, whatever was rounded when it was added up. */
function later(deadline: number): number {
  return deadline <= Number.MAX_SAFE_INTEGER ? Math.ceil(deadline) : deadline * (1 + 2 ** -50);
}
