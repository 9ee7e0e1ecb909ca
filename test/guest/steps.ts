/** ms that a step may take, on a machine that is busy with other things. */
const LONGEST = 120_000;

/** A long test that says how far it is, and where it stopped: a step that does not end ends the test. */
export class Steps {
  readonly #controller = new AbortController();
  readonly #aloud: boolean;
  readonly #state: () => string;
  /** Aborts with the test, or with an error that says which step has not ended. */
  readonly signal: AbortSignal;
  readonly #began = performance.now();
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param test - ends them all.
   * @param state - what is of use to whoever wants to know why one does not end.
   * @param aloud - each is told of on stderr.
   */
  constructor(test: AbortSignal, state: () => string, aloud: boolean) {
    this.#state = state;
    this.#aloud = aloud;
    this.signal = AbortSignal.any([test, this.#controller.signal]);
  }

  /** The last one ended, and another begins. */
  begin(step: string): void {
    clearTimeout(this.#timer);
    if (this.#aloud)
      process.stderr.write(`${((performance.now() - this.#began) / 1000).toFixed(1)} s: ${step}\n`);
    this.#timer = setTimeout(() => {
      const error = new Error(`${step}: not within ${LONGEST / 1000} s. ${this.#state()}`);
      this.#controller.abort(error);
    }, LONGEST);
  }

  /** The test is over, and what still waits need not. */
  end(): void {
    clearTimeout(this.#timer);
    this.#controller.abort(new Error('the test is over'));
  }
}
