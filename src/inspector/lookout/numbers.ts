/** What two processes call the same connections. */
export class Numbers {
  readonly #numberOf: (socket: string, connection: number) => number;
  readonly #ours = new Map<number, number>();
  readonly #its = new Map<number, number>();

  /** @param numberOf - what we call a connection that the other one has. */
  constructor(numberOf: (socket: string, connection: number) => number) {
    this.#numberOf = numberOf;
  }

  /** It has this one from now on. @returns what we call it. */
  came(socket: string, its: number): number {
    const ours = this.#numberOf(socket, its);
    this.#ours.set(its, ours);
    this.#its.set(ours, its);
    return ours;
  }

  /** What we call it; -1 for one that never came. */
  ours(its: number): number {
    return this.#ours.get(its) ?? -1;
  }

  /** What the other one calls it; -1 for one that it does not have. */
  its(ours: number): number {
    return this.#its.get(ours) ?? -1;
  }
}
