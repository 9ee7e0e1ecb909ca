import type { TimelineItem } from './protocol.js';

/** Something on a timeline; chains change until they are over. */
export interface Entry {
  readonly id: number;
  readonly time: number;
  /** Bytes that are kept with it. */
  readonly size: number;
  item(): TimelineItem;
  /** Forgets the bytes. */
  shed(): void;
}

/** What happened on one queue, or to one device, as far back as there is room. */
export class Timeline {
  readonly #items: number;
  readonly #bytes: number;
  /** By id, in the order in which they came: a map keeps that. */
  readonly #entries = new Map<number, Entry>();
  /** Those whose bytes are kept, oldest first. */
  readonly #full = new Map<number, Entry>();
  #size = 0;
  #forgot = false;

  /** @param items - and `bytes`: what is kept at most. */
  constructor(items: number, bytes: number) {
    this.#items = items;
    this.#bytes = bytes;
  }

  get length(): number {
    return this.#entries.size;
  }

  /** From when on all is kept; `undefined` where nothing was forgotten. */
  get kept(): number | undefined {
    return this.#forgot ? this.start : undefined;
  }

  /** The oldest time of which anything is kept. */
  get start(): number | undefined {
    for (const { time } of this.#entries.values()) return time;
    return undefined;
  }

  add(entry: Entry): void {
    this.#entries.set(entry.id, entry);
    if (this.#entries.size > this.#items) this.#forget();
    this.grew(entry, entry.size);
  }

  /** An entry has so many more bytes than when it was added. */
  grew(entry: Entry, bytes: number): void {
    if (bytes === 0 || !this.#entries.has(entry.id)) return;
    this.#full.set(entry.id, entry);
    this.#size += bytes;
    while (this.#size > this.#bytes) {
      const [first] = this.#full;
      if (first === undefined) break;
      this.#size -= first[1].size;
      this.#full.delete(first[0]);
      first[1].shed();
    }
  }

  find(id: number): Entry | undefined {
    return this.#entries.get(id);
  }

  /** Those that began from `from` to `to`. */
  between(from: number, to: number): Entry[] {
    return [...this.#entries.values()].filter(({ time }) => time >= from && time <= to);
  }

  /** The last so many. */
  last(count: number): Entry[] {
    const all = [...this.#entries.values()];
    return all.slice(Math.max(0, all.length - count));
  }

  #forget(): void {
    const [first] = this.#entries;
    if (first === undefined) return;
    this.#entries.delete(first[0]);
    this.#forgot = true;
    if (this.#full.delete(first[0])) this.#size -= first[1].size;
  }
}
