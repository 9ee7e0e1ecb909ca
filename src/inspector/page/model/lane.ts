import type { ChainItem, TimelineItem } from '../../protocol.js';

/** An item, with the row that it is drawn in where several chains are under way at the same time. */
export interface Placed {
  item: TimelineItem;
  readonly row: number;
  /** Of a chain that never comes back: when its ring was taken away. */
  lost?: number;
}

/** Items that one lane keeps: the oldest go. */
const KEPT = 40_000;
const ROWS = 256;

/** What happened to one queue, or to the device as a whole, in the order of its ids. */
export class Lane {
  readonly connection: number;
  readonly queue: number | undefined;
  #items: Placed[] = [];
  /** Who had each row last, and when it is free again. */
  #rows: { id: number; end: number }[] = [];
  /** Chains that the device has, by id. */
  readonly #open: Map<number, Placed> = new Map();
  /** The longest that anything took, ns. */
  #longest = 0;
  /** From when on the server has all; it told of nothing older that is not here. */
  #kept = Number.NEGATIVE_INFINITY;

  constructor(connection: number, queue: number | undefined) {
    this.connection = connection;
    this.queue = queue;
  }

  get items(): readonly Placed[] {
    return this.#items;
  }

  /** Before that there is nothing, whatever happened. */
  get from(): number {
    const first = this.#items[0];
    return first === undefined ? this.#kept : Math.min(this.#kept, beginOf(first.item));
  }

  /** The server has nothing from before that time. */
  keptFrom(time: number): void {
    this.#kept = time;
  }

  /** Takes it in; one with its id gives way. */
  put(item: TimelineItem): void {
    this.#longest = Math.max(this.#longest, endOf(item) - beginOf(item));
    const at = this.#after(item.id);
    let placed = this.#items[at - 1];
    if (placed?.item.id === item.id) placed.item = item;
    else {
      placed = { item, row: item.type === 'chain' ? this.#row(item) : 0 };
      this.#items.splice(at, 0, placed);
    }
    if (item.type === 'chain') this.#follow(placed, item);
    if (item.type === 'event' && item.what === 'queue-stopped') this.#lose(item.time);
    if (this.#items.length > KEPT) this.#items = this.#items.slice(KEPT / 4);
  }

  find(id: number): TimelineItem | undefined {
    const found = this.#items[this.#after(id) - 1]?.item;
    return found?.id === id ? found : undefined;
  }

  /** All that has a part in this stretch of time. @param each - hears of one after another. */
  within(from: number, to: number, each: (placed: Placed) => void): void {
    const first = from - this.#longest;
    for (const placed of this.#open.values()) if (placed.item.time < first) each(placed);
    for (let i = this.#from(first); i < this.#items.length; i++) {
      const placed = this.#items[i]!;
      if (placed.item.time > to + this.#longest) break;
      if (beginOf(placed.item) > to) continue;
      if (this.#open.has(placed.item.id) || (placed.lost ?? endOf(placed.item)) >= from) each(placed);
    }
  }

  /** The chain before or behind this moment, or behind (before) the one with this id. */
  neighbour(of: { id: number } | { time: number }, step: 1 | -1): ChainItem | undefined {
    let at: number;
    if ('id' in of) at = step > 0 ? this.#after(of.id) : this.#after(of.id - 1) - 1;
    else at = step > 0 ? this.#from(of.time) : this.#from(of.time) - 1;
    for (; at >= 0 && at < this.#items.length; at += step) {
      const { item } = this.#items[at]!;
      if (item.type === 'chain') return item;
    }
    return undefined;
  }

  /** A row that is free when this one begins; it has it until it is handed back. */
  #row(item: ChainItem): number {
    const begin = beginOf(item);
    let row = this.#rows.findIndex(({ end }) => end <= begin);
    if (row < 0) row = Math.min(this.#rows.length, ROWS - 1);
    this.#rows[row] = { id: item.id, end: Number.POSITIVE_INFINITY };
    return row;
  }

  #follow(placed: Placed, item: ChainItem): void {
    const row = this.#rows[placed.row];
    if (row?.id === item.id) row.end = item.used === undefined ? Number.POSITIVE_INFINITY : endOf(item);
    if (item.used === undefined) this.#open.set(item.id, placed);
    else this.#open.delete(item.id);
  }

  #lose(time: number): void {
    for (const [id, placed] of this.#open) {
      if (placed.item.time > time) continue;
      placed.lost = time;
      this.#longest = Math.max(this.#longest, time - beginOf(placed.item));
      this.#open.delete(id);
      const row = this.#rows[placed.row];
      if (row?.id === id) row.end = time;
    }
  }

  /** Where items with ids above this one begin. */
  #after(id: number): number {
    let low = 0;
    let high = this.#items.length;
    // Nearly all come behind the last.
    if (high > 0 && this.#items[high - 1]!.item.id <= id) return high;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#items[middle]!.item.id <= id) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #from(time: number): number {
    let low = 0;
    let high = this.#items.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#items[middle]!.item.time < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** When all of it is over: for a chain, when the driver heard of it. Of one that is not over, when it was taken. */
export function endOf(item: TimelineItem): number {
  if (item.type === 'gap') return item.to;
  if (item.type !== 'chain') return item.time;
  return item.interrupt ?? item.used ?? item.time;
}

/** When it begins: for a chain, when it was seen to be available. */
export function beginOf(item: TimelineItem): number {
  return item.type === 'chain' ? Math.min(item.available ?? item.time, item.time) : item.time;
}
