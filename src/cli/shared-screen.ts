/** Characters of an unfinished line, and lines that wait for a full-screen program to end. */
const LONGEST_LINE = 4096;
const MOST_WAITING = 1000;

/** To the line's beginning, and nothing on it. */
const CLEAR_LINE = '\r\x1b[K';
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const OTHER_SCREEN = /\x1b\[\?(?:1049|1047|47)([hl])/g;
/** Questions to the terminal, such as where the cursor is: asked again, they would be answered again. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const QUESTION = /\x1b\[[?>=]?\d*[nc]/g;

/**
 * A terminal that a shell has, and on which whole lines of others appear. What the shell wrote since its last line's end, such as a
 * prompt and what is being typed, moves down for them. While a program has the terminal's other screen (an editor), they wait.
 */
export class SharedScreen {
  readonly #write: (text: string) => void;
  /** What is on the line where the cursor is, with all that steers it. */
  #current = '';
  #otherScreen = false;
  #waiting: string[] = [];
  #lost = 0;

  constructor(write: (text: string) => void) {
    this.#write = write;
  }

  /** The shell, or a program in it, wrote. */
  shell(text: string): void {
    this.#write(text);
    this.#current = (this.#current + text.replaceAll('\r\n', '\n')).split('\n').pop()!.slice(-LONGEST_LINE);
    let other = this.#otherScreen;
    for (const [, on] of text.matchAll(OTHER_SCREEN)) other = on === 'h';
    if (other === this.#otherScreen) return;
    this.#otherScreen = other;
    if (!other) this.#showWaiting();
  }

  /** Somebody else has lines to show; each with its end. */
  lines(text: string): void {
    if (!this.#otherScreen) {
      const again = this.#current.replace(QUESTION, '');
      this.#write(this.#current === '' ? text : `${CLEAR_LINE}${text}${again}`);
      return;
    }
    this.#waiting.push(text);
    if (this.#waiting.length <= MOST_WAITING) return;
    this.#waiting.shift();
    this.#lost += 1;
  }

  #showWaiting(): void {
    const lost = this.#lost > 0 ? `virtio-misc: ${this.#lost} lines came meanwhile that are not shown\n` : '';
    const text = lost + this.#waiting.join('');
    this.#waiting = [];
    this.#lost = 0;
    this.#current = '';
    if (text !== '') this.#write(text);
  }
}
