/** Rounds of calls before everything else that waits in the event loop has its turn. */
const ROUNDS = 64;

const settled: Promise<void> = Promise.resolve();

/**
 * Kicks and interrupts between two ends on one thread: a call comes a little later, never from inside of `ring`, and once
 * however often it was rung for meanwhile. Mostly from a microtask, as a round of the event loop costs more than a request.
 */
export class Bell {
  readonly #defer: (callback: () => void) => void;
  #calls: (() => void)[] = [];
  /** The array of the round before, empty. */
  #spare: (() => void)[] = [];
  #scheduled = false;
  #rounds = 0;
  #life = 0;

  /** @param defer - calls back from the event loop, after other work that waits had its turn. */
  constructor(defer: (callback: () => void) => void) {
    this.#defer = defer;
  }

  ring(call: () => void): void {
    if (this.#calls.includes(call)) return;
    this.#calls.push(call);
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#rounds += 1;
    if (this.#rounds < ROUNDS) void settled.then(this.#round);
    else {
      this.#rounds = 0;
      this.#defer(this.#round);
    }
  }

  /** Forgets what was rung for. */
  silence(): void {
    this.#calls.length = 0;
    this.#life += 1;
  }

  readonly #round = (): void => {
    this.#scheduled = false;
    const life = this.#life;
    const calls = this.#calls;
    this.#calls = this.#spare;
    for (let i = 0; i < calls.length && life === this.#life; i++) {
      try {
        calls[i]!();
      } catch (error) {
        // It takes nothing from the others.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
    calls.length = 0;
    this.#spare = calls;
  };
}
