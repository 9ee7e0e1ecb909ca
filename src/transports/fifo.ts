/** Taken from the front in bulk, where an array's `shift` would move all the others each time. */
const STRIDE = 1024;

/** First in, first out, at the same cost however many there are. */
export class Fifo<Item> {
  readonly #items: (Item | undefined)[] = [];
  #taken = 0;

  get length(): number {
    return this.#items.length - this.#taken;
  }

  push(item: Item): void {
    this.#items.push(item);
  }

  /** The first, which stays. */
  peek(): Item | undefined {
    return this.#items[this.#taken];
  }

  /** Takes the first; `undefined` when there is none. */
  shift(): Item | undefined {
    if (this.length === 0) return undefined;
    const item = this.#items[this.#taken];
    this.#items[this.#taken] = undefined;
    this.#taken += 1;
    if (this.length === 0) this.clear();
    else if (this.#taken === STRIDE) {
      this.#items.splice(0, STRIDE);
      this.#taken = 0;
    }
    return item;
  }

  clear(): void {
    this.#items.length = 0;
    this.#taken = 0;
  }

  *[Symbol.iterator](): Generator<Item> {
    for (let i = this.#taken; i < this.#items.length; i++) yield this.#items[i] as Item;
  }
}
