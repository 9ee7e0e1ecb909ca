import type { DeviceHost } from '../../virtio/device.js';

/** A timer in durable memory, by words: doubles take two. Which deadline counts its state says. */
export const SLOT = {
  state: 0,
  id: 1,
  deadlineA: 2,
  deadlineB: 4,
  /** 0 for a timer that expires once. */
  interval: 6,
  /** Of the buffer that tells of it, while it is out: both. */
  serial: 8,
  head: 9,
  /** How many timers were armed before: those that are due at once are told of in this order. */
  order: 10,
  words: 11,
} as const;

/** Slots that lie in one piece. */
const PAGE_BITS = 14;
const PAGE = 1 << PAGE_BITS;
const PAGE_BYTES: number = PAGE * SLOT.words * 4;

/** Slots for timers in durable memory, of which more is had when they are used up: as much again as there is. */
export class KeptSlots {
  readonly #host: DeviceHost;
  readonly #pages: Int32Array[] = [];
  #pieces = 0;
  /** Those that are free, of all that were ever used. */
  #free = new Uint32Array(64);
  #freeCount = 0;
  readonly #double = new Float64Array(1);
  readonly #halves = new Int32Array(this.#double.buffer);

  constructor(host: DeviceHost) {
    this.#host = host;
  }

  /** Sees to it that there are so many. @throws OsError when there is no memory to be had. */
  reach(count: number): void {
    while (this.#pages.length * PAGE < count) {
      const pages = this.#pieces === 0 ? 1 : 2 ** (this.#pieces - 1);
      const { view } = this.#host.durable(`slots.1.${this.#pieces}`, pages * PAGE_BYTES);
      this.#pieces += 1;
      for (let i = 0; i < pages; i++) this.#pages.push(view.slice(i * PAGE_BYTES, PAGE_BYTES).words!);
    }
  }

  get(slot: number, word: number): number {
    return this.#pages[slot >>> PAGE_BITS]![(slot & (PAGE - 1)) * SLOT.words + word]!;
  }

  put(slot: number, word: number, value: number): void {
    this.#pages[slot >>> PAGE_BITS]![(slot & (PAGE - 1)) * SLOT.words + word] = value;
  }

  getDouble(slot: number, word: number): number {
    this.#halves[0] = this.get(slot, word);
    this.#halves[1] = this.get(slot, word + 1);
    return this.#double[0]!;
  }

  putDouble(slot: number, word: number, value: number): void {
    this.#double[0] = value;
    this.put(slot, word, this.#halves[0]!);
    this.put(slot, word + 1, this.#halves[1]!);
  }

  /** One that is free, the last one first; -1 when there is none. */
  take(): number {
    if (this.#freeCount === 0) return -1;
    this.#freeCount -= 1;
    return this.#free[this.#freeCount]!;
  }

  release(slot: number): void {
    if (this.#freeCount === this.#free.length) {
      const more = new Uint32Array(2 * this.#freeCount);
      more.set(this.#free);
      this.#free = more;
    }
    this.#free[this.#freeCount] = slot;
    this.#freeCount += 1;
  }
}
