import type { Figure } from './figure.js';

/** What stands in a table: words, a number, what was measured over all rounds, or nothing. */
export type Cell = string | number | Figure | undefined;

export interface Table {
  /** What was measured, and of what. */
  readonly title: string;
  /** Headings, with units. */
  readonly columns: readonly string[];
  readonly rows: readonly (readonly Cell[])[];
  /** What a reader must know to believe it. */
  readonly notes?: readonly string[];
}

export interface ProcessOptions {
  /** The CPU that it may use, one of `BenchContext.cpus`; any unless told. */
  readonly cpu?: number | undefined;
  readonly env?: Readonly<Record<string, string>>;
}

/** A process that was started. It is ended with the bench, if it was not before. */
export interface Started {
  readonly pid: number;
  /** Resolves with all it wrote to stdout when it ended well; rejects, with what it wrote to stderr, when it did not. */
  readonly output: Promise<string>;
  /** What it wrote to stderr so far, the end of it. */
  said(): string;
  /** Ends it, and resolves when it is gone. */
  stop(): Promise<void>;
}

/** What a bench is given. */
export interface BenchContext {
  /** Only to see that it works: so short that its figures say nothing. */
  readonly quick: boolean;
  /** How often each contender is measured. */
  readonly rounds: number;
  /** Whether to measure, too, what it costs that all that passes is recorded. */
  readonly record: boolean;
  /** Whether to measure, too, what it costs that a page of the inspector is open. */
  readonly inspect: boolean;
  /** Whether to measure, instead, what it costs that the process may die. */
  readonly keeper: boolean;
  /** The one or two CPUs to use. Empty where processes can't be pinned. */
  readonly cpus: readonly number[];
  /** A folder for sockets and images, gone afterwards. */
  readonly folder: string;
  /** `long` ms, or a short time when it is to be quick. */
  time(long: number): number;
  /**
   * Builds `bench/NAME.c`, once.
   *
   * @returns the program's path.
   * @throws BenchError when there is no C compiler, or it finds a mistake.
   */
  yardstick(name: string): Promise<string>;
  /** Starts a program: `command[0]` with the arguments that follow. */
  start(command: readonly string[], options?: ProcessOptions): Started;
  /** Runs a program to its end. @returns what it wrote to stdout. */
  run(command: readonly string[], options?: ProcessOptions): Promise<string>;
  /** A word to whoever waits, gone when the table is there. */
  progress(line: string): void;
}

/** Each file in `bench/` that measures something exports one. It tells the same story whenever it is called: tables, one or more. */
export type Bench = (context: BenchContext) => Promise<readonly Table[]>;

/** What keeps a bench from running, in one line that says what to do. */
export class BenchError extends Error {
  override readonly name = 'BenchError';
}
