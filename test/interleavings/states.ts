/** Numbers of a state. */
export const FIELDS = 6;

/** Every state that was ever come to, in that order: six numbers each, found again by all of them. */
export class States {
  #rows = new Int32Array(FIELDS << 12);
  #slots = new Int32Array(1 << 13);
  #from = new Int32Array(1 << 12);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** The number at `field` of a state. */
  at(state: number, field: number): number {
    return this.#rows[FIELDS * state + field]!;
  }

  /** The state from which this one was come to first; -1 for the first. */
  fromOf(state: number): number {
    return this.#from[state]!;
  }

  /** Adds a state unless it is there. */
  add(a: number, b: number, c: number, d: number, e: number, f: number, from: number): void {
    if (2 * this.#count >= this.#slots.length) this.#grow();
    const rows = this.#rows;
    let slot = this.#slotOf(a, b, c, d, e, f);
    for (let state = this.#slots[slot]!; state !== 0; state = this.#slots[slot]!) {
      const at = FIELDS * (state - 1);
      if (
        rows[at] === a &&
        rows[at + 1] === b &&
        rows[at + 2] === c &&
        rows[at + 3] === d &&
        rows[at + 4] === e &&
        rows[at + 5] === f
      ) {
        return;
      }
      slot = (slot + 1) & (this.#slots.length - 1);
    }
    rows.set([a, b, c, d, e, f], FIELDS * this.#count);
    this.#from[this.#count] = from;
    this.#count += 1;
    this.#slots[slot] = this.#count;
  }

  #slotOf(a: number, b: number, c: number, d: number, e: number, f: number): number {
    let hash = 0;
    hash = Math.imul(hash ^ a, 0x9e3779b1);
    hash = Math.imul(hash ^ (hash >>> 15) ^ b, 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13) ^ c, 0xc2b2ae35);
    hash = Math.imul(hash ^ (hash >>> 16) ^ d, 0x27d4eb2f);
    hash = Math.imul(hash ^ (hash >>> 15) ^ e, 0x165667b1);
    hash = Math.imul(hash ^ (hash >>> 13) ^ f, 0x9e3779b1);
    return (hash ^ (hash >>> 16)) & (this.#slots.length - 1);
  }

  #grow(): void {
    const rows = new Int32Array(2 * this.#rows.length);
    rows.set(this.#rows);
    this.#rows = rows;
    const from = new Int32Array(2 * this.#from.length);
    from.set(this.#from);
    this.#from = from;
    this.#slots = new Int32Array(2 * this.#slots.length);
    for (let state = 0; state < this.#count; state++) {
      const at = FIELDS * state;
      const [a, b, c, d, e, f] = rows.subarray(at, at + FIELDS) as unknown as number[];
      let slot = this.#slotOf(a!, b!, c!, d!, e!, f!);
      while (this.#slots[slot] !== 0) slot = (slot + 1) & (this.#slots.length - 1);
      this.#slots[slot] = state + 1;
    }
  }
}
