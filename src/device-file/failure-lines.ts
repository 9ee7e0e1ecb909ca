import type { Allowance, LineLimiter } from '../lines/line-limiter.js';
import { printable } from '../lines/printable.js';
import type { LogContext } from '../virtio/log-context.js';
import { explainError } from './explain-error.js';

/** Of each place: at once with the code there, then once a second with how often it was. */
const EACH: Allowance = { first: 1, each: 1 };

/**
 * Lines about what devices throw, for their author: the first of each place comes with the stack and the code there, then it is only
 * counted.
 */
export class FailureLines<About extends LogContext> {
  readonly #limiter: LineLimiter<About>;
  readonly #write: (line: string, about: About) => void;
  readonly #shown = new Set<string>();

  /** @param write - where the limiter's lines go too. */
  constructor(limiter: LineLimiter<About>, write: (line: string, about: About) => void) {
    this.#limiter = limiter;
    this.#write = write;
  }

  /** Shows a line, or counts it. One without an error of an author's goes through the limiter as it is. */
  say(line: string, about: About): void {
    const { error, ...rest } = about;
    const found = error === undefined ? undefined : explainError(error);
    if (found === undefined) {
      this.#limiter.say(line, rest as About);
      return;
    }
    const text = printable(`${line} (${found.place})`);
    const sum = (held: number): string => (held === 1 ? text : `${text} (and ${held - 1} more)`);
    if (!this.#limiter.allows(`failed ${found.key}`, rest as About, EACH, sum)) return;
    if (this.#shown.has(found.key)) {
      this.#write(text, rest as About);
      return;
    }
    this.#shown.add(found.key);
    this.#write(printable(line), { ...rest, detail: found.lines.map(printable) } as unknown as About);
  }
}
