/** Ids that differ only in these bits have one hash. */
const TOGETHER = 7;

/** A hash of 32 bits for ids that somebody else chooses: it depends on random numbers, so that ids can't be chosen to collide. */
export class IdHash {
  readonly #flip: number;
  readonly #first: number;
  readonly #second: number;

  /** @param secret - three numbers. */
  constructor(secret: Int32Array) {
    const [flip, first, second] = secret;
    this.#flip = flip!;
    this.#first = first! | 1;
    this.#second = second! | 1;
  }

  /** @param id - an Int32. @returns an Int32. */
  of(id: number): number {
    const mixed = Math.imul((id | TOGETHER) ^ this.#flip, this.#first);
    const twice = Math.imul(mixed ^ (mixed >>> 15), this.#second);
    return Math.imul(twice ^ (twice >>> 16), this.#first);
  }
}
