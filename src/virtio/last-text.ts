import { readLatin1 } from './latin1.js';

/** One text field of a queue's requests: names and modes come again and again, and to compare them costs less than to make them. */
export class LastText {
  readonly #bytes: Uint8Array;
  readonly #words: Int32Array;
  #text = '';

  /** @param size - bytes of the field, a multiple of 4. */
  constructor(size: number) {
    this.#bytes = new Uint8Array(size);
    this.#words = new Int32Array(this.#bytes.buffer);
  }

  /** The text that begins at the word `from[at]`, as `readLatin1` has it. */
  read(from: Int32Array, at: number): string {
    const words = this.#words;
    for (let i = 0; i < words.length; i++) {
      if (words[i] === from[at + i]) continue;
      for (; i < words.length; i++) words[i] = from[at + i]!;
      this.#text = readLatin1(this.#bytes, 0, this.#bytes.length);
    }
    return this.#text;
  }
}
