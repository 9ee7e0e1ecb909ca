import type { ChainItem, TimelineItem } from '../../protocol.js';

/** An item, with the row that it is drawn in where several chains are under way at the same time. */
export interface Placed {
  item: TimelineItem;
  readonly row: number;
}

/** Items that one lane keeps: the oldest go. */
const KEPT = 40_000;
const ROWS = 256;

/** What happened to one queue, or to the device as a whole, in the order of its ids. */
export class Lane {
  readonly connection: number;
  readonly queue: number | undefined;
  #items: Placed[] = [];
  /** When each row is free again. */
  #free: number[] = [];
  /** The longest that anything took, ns. */
  #longest = 0;

  constructor(connection: number, queue: number | undefined) {
    this.connection = connection;
    this.queue = queue;
  }

  get items(): readonly Placed[] {
    return this.#items;
  }

  /** Rows that are in use. */
  get rows(): number {
    return this.#free.length;
  }

  /** Takes it in; one with its id gives way. */
  put(item: TimelineItem): void {
    this.#longest = Math.max(this.#longest, endOf(item) - beginOf(item));
    const at = this.#after(item.id);
    const before = this.#items[at - 1];
    if (before?.item.id === item.id) before.item = item;
    else this.#items.splice(at, 0, { item, row: item.type === 'chain' ? this.#row(item) : 0 });
    if (this.#items.length > KEPT) this.#items = this.#items.slice(KEPT / 4);
  }

  clear(): void {
    this.#items = [];
    this.#free = [];
    this.#longest = 0;
  }

  find(id: number): TimelineItem | undefined {
    const found = this.#items[this.#after(id) - 1]?.item;
    return found?.id === id ? found : undefined;
  }

  /** All that has a part in this stretch of time. @param each - hears of one after another. */
  within(from: number, to: number, each: (placed: Placed) => void): void {
    for (let i = this.#from(from - this.#longest); i < this.#items.length; i++) {
      const placed = this.#items[i]!;
      if (placed.item.time > to + this.#longest) break;
      if (beginOf(placed.item) > to) continue;
      if (endOf(placed.item) >= from) each(placed);
    }
  }

  /** The chain before or behind this moment, or behind (before) the one with this id. */
  neighbour(of: { id: number } | { time: number }, step: 1 | -1): ChainItem | undefined {
    let at: number;
    if ('id' in of) at = this.#after(of.id) - 1 + step;
    else at = step > 0 ? this.#from(of.time) : this.#from(of.time) - 1;
    for (; at >= 0 && at < this.#items.length; at += step) {
      const { item } = this.#items[at]!;
      if (item.type === 'chain') return item;
    }
    return undefined;
  }

  /** A row that is free when this one begins: as chains are told of when they end, none of a row overlap. */
  #row(item: ChainItem): number {
    const end = endOf(item);
    const begin = beginOf(item);
    let row = this.#free.findIndex((free) => free <= begin);
    if (row < 0) row = this.#free.length < ROWS ? this.#free.length : ROWS - 1;
    this.#free[row] = end;
    return row;
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

/** When all of it is over: for a chain, when the driver heard of it. */
export function endOf(item: TimelineItem): number {
  if (item.type === 'gap') return item.to;
  if (item.type !== 'chain') return item.time;
  return item.interrupt ?? item.used ?? item.time;
}

/** When it begins: for a chain, when it was seen to be available. */
export function beginOf(item: TimelineItem): number {
  return item.type === 'chain' ? Math.min(item.available ?? item.time, item.time) : item.time;
}
