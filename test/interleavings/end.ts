import type { Access } from './access.js';

/** Runs one end's code from its start, with what it is to read. Returns its accesses: the last is one that has no answer yet, if it is no end. */
export type Runs = (answers: readonly number[]) => readonly Access[];

/**
 * Everything that one end ever does, as a tree: an access at each node, and after what was read a branch for each value. Where an end
 * stands depends on nothing but what it has read, so its code is run once for each branch, from its start.
 */
export class End {
  readonly name: string;
  readonly #runs: Runs;
  readonly #accesses: Access[] = [];
  readonly #parents: number[] = [];
  readonly #depths: number[] = [];
  /** What was read to come to this node; `undefined` where nothing was. */
  readonly #answers: (number | undefined)[] = [];
  readonly #next: (number | Map<number, number> | undefined)[] = [];

  /** Its first node is 0. */
  constructor(name: string, runs: Runs) {
    this.name = name;
    this.#runs = runs;
    this.#grow(-1, undefined);
  }

  /** Nodes so far. */
  get nodes(): number {
    return this.#accesses.length;
  }

  /** What it does at this node. */
  accessAt(node: number): Access {
    return this.#accesses[node]!;
  }

  parentOf(node: number): number {
    return this.#parents[node]!;
  }

  /** What was read at the node before. */
  answerOf(node: number): number | undefined {
    return this.#answers[node];
  }

  /** The node after an access that brings no value. */
  after(node: number): number {
    return this.#next[node] as number;
  }

  /** The node after this was read. */
  afterReading(node: number, value: number): number {
    let branches = this.#next[node] as Map<number, number> | undefined;
    if (branches === undefined) {
      branches = new Map();
      this.#next[node] = branches;
    }
    let next = branches.get(value);
    if (next === undefined) {
      next = this.#grow(node, value);
      branches.set(value, next);
    }
    return next;
  }

  /** Adds what comes after a node. */
  #grow(from: number, answer: number | undefined): number {
    const answers = answer === undefined ? [] : [answer];
    for (let node = from; node >= 0; node = this.#parents[node]!) {
      const before = this.#answers[node];
      if (before !== undefined) answers.unshift(before);
    }
    const accesses = this.#runs(answers);
    const first = this.#accesses.length;
    let parent = from;
    for (let depth = from < 0 ? 0 : this.#depths[from]! + 1; depth < accesses.length; depth++) {
      const node = this.#accesses.length;
      this.#accesses.push(accesses[depth]!);
      this.#parents.push(parent);
      this.#depths.push(depth);
      this.#answers.push(node === first ? answer : undefined);
      this.#next.push(undefined);
      if (node !== first) this.#next[parent] = node;
      parent = node;
    }
    if (first === this.#accesses.length) throw new Error(`${this.name} does not do the same twice`);
    return first;
  }
}
