/** So many in a row are no reason to wait. */
const FREE = 3;
const FIRST_MS = 50;
const LONGEST_MS = 2000;

/** How long to wait before something is tried again that failed again and again: twice as long each time. */
export class Backoff {
  #failures = 0;
  #timer: NodeJS.Timeout | undefined;
  #end: () => void = () => {};
  #closed = false;

  /** It went well: the next failure is the first. */
  well(): void {
    this.#failures = 0;
  }

  /** It failed. Resolves when it may be tried again. */
  wait(): Promise<void> {
    this.#failures += 1;
    const more = this.#failures - FREE;
    if (more <= 0 || this.#closed) return Promise.resolve();
    return new Promise((resolve) => {
      this.#end = resolve;
      this.#timer = setTimeout(resolve, Math.min(FIRST_MS * 2 ** (more - 1), LONGEST_MS));
    });
  }

  /** Nobody waits any more. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#end();
  }
}
