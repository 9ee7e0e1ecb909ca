/** Where somebody called one of this package's functions: for errors that show only later. */
export class Place {
  readonly #stack: string;

  /** @param called - the function that was called: what is above it in the stack is not shown. */
  constructor(called: (...args: never[]) => unknown) {
    const at: { stack?: string } = {};
    const { captureStackTrace } = Error as { captureStackTrace?: (at: object, called: unknown) => void };
    captureStackTrace?.(at, called);
    const stack = at.stack ?? '';
    this.#stack = stack.slice(stack.indexOf('\n') + 1);
  }

  /** An error that is shown as if it had been thrown there. */
  blame<E extends Error>(error: E): E {
    if (this.#stack !== '') error.stack = `${error.name}: ${error.message}\n${this.#stack}`;
    return error;
  }
}
