/**
 * A place in a packed ring that one side goes on from (VIRTIO 1.3 §2.8.1): an offset in descriptors, and that side's wrap counter. Going
 * round twice, it comes by 2 * size of them.
 */
export class Place {
  /** 0..size - 1. */
  offset: number;
  wrap: boolean;
  readonly #size: number;

  /** @param place - 15 + 1 bits, as `bits` says them. */
  constructor(size: number, place: number) {
    this.#size = size;
    this.offset = place & 0x7fff;
    this.wrap = (place & 0x8000) !== 0;
  }

  /** As vhost-user and the event suppression structures have it: the offset in bits 0-14, the wrap counter in bit 15. */
  get bits(): number {
    return this.offset | (this.wrap ? 0x8000 : 0);
  }

  /** Whether there is such a place. */
  get valid(): boolean {
    return this.offset < this.#size;
  }

  /** Goes on by at most `size` descriptors. */
  advance(descriptors: number): void {
    const offset = this.offset + descriptors;
    if (offset < this.#size) this.offset = offset;
    else {
      this.offset = offset - this.#size;
      this.wrap = !this.wrap;
    }
  }

  /** @param bits - as `bits` says it. */
  set(bits: number): void {
    this.offset = bits & 0x7fff;
    this.wrap = (bits & 0x8000) !== 0;
  }

  /** How many descriptors this is ahead of another, 0..2 * size - 1. */
  from(other: Place): number {
    const ahead = this.offset - other.offset;
    if (this.wrap === other.wrap) return ahead < 0 ? ahead + 2 * this.#size : ahead;
    return ahead + this.#size;
  }

  /**
   * Whether a side that went on by `descriptors` from here passed what the other side asked to be told of (§2.8.10).
   *
   * @param event - a place, as `bits` says it; none that is outside of the ring is ever passed.
   */
  passes(event: number, descriptors: number): boolean {
    const offset = event & 0x7fff;
    if (offset >= this.#size) return false;
    let ahead = offset - this.offset;
    if (((event & 0x8000) !== 0) !== this.wrap) ahead += this.#size;
    else if (ahead < 0) ahead += 2 * this.#size;
    return ahead < descriptors;
  }
}
