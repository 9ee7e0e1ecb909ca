/** What a target's process says of itself, a line of JSON each. */
export interface Report {
  readonly steps: number;
  readonly runs: number;
  /** Bytes that are in use after a collection, and descriptors that are open, when it was looked. */
  readonly memory?: Usage;
  /** Set in the last one. */
  readonly end?: 'done' | Finding;
}

export interface Usage {
  readonly bytes: number;
  readonly resident: number;
  readonly descriptors: number;
}

/** Something that went wrong. */
export interface Finding {
  readonly what: string;
  /** With the seed, for `--path`: which run it was, and how it was shrunk. */
  readonly path: string;
  /** The least input that does it, if that was found. */
  readonly input?: string;
}

/** What to run, as the one argument of a target's process. */
export interface Order {
  /** The module that has the targets. */
  readonly module: string;
  readonly target: string;
  readonly seed: number;
  /** Of one run to be done again. */
  readonly path?: string | undefined;
  /** After so many ms, or so many steps, it ends. */
  readonly time: number;
  readonly steps: number;
  /** A file for the number of the run that goes on. */
  readonly place: string;
}
