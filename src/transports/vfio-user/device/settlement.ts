import type { Keep, Notes } from '../../keep.js';
import type { Message } from '../framing.js';
import * as wire from '../messages.js';

interface Dealt {
  readonly size: number;
  /** Something goes with it: what is to be kept, or an answer that was sent. */
  readonly notes: Notes | undefined;
}

/** Tells a keeper which of a client's messages were dealt with: in the order in which they came, and a command and its answer as one. */
export class Settlement {
  readonly #keep: Keep;
  /** Those that came and were not told, in their order, by what became of them. */
  readonly #open = new Map<Message, Dealt | undefined>();
  /** Bytes of the first ones, that led to nothing: told with the next that led to something, or when there is time. */
  #owed = 0;

  constructor(keep: Keep) {
    this.#keep = keep;
  }

  /** Whether it came and was not dealt with: one that was kept, and is told again, did not come. */
  awaits(message: Message): boolean {
    return this.#open.has(message);
  }

  came(message: Message): void {
    this.#open.set(message, undefined);
  }

  /**
   * It was dealt with, and its answer sent if it has one.
   *
   * @param notes - `undefined` when there is neither an answer nor anything to keep.
   */
  done(message: Message, notes?: Notes): void {
    this.#open.set(message, { size: wire.HEADER.size + message.payload.byteLength, notes });
    for (const [first, dealt] of this.#open) {
      if (dealt === undefined) return;
      this.#open.delete(first);
      if (dealt.notes === undefined) this.#owed += dealt.size;
      else if (dealt.notes.keep === undefined) {
        this.#keep.settle(this.#owed + dealt.size, dealt.notes);
        this.#owed = 0;
      } else {
        // What is kept are the bytes of this one alone.
        this.flush();
        this.#keep.settle(dealt.size, dealt.notes);
      }
    }
  }

  /** Tells what is owed. */
  flush(): void {
    if (this.#owed === 0) return;
    this.#keep.settle(this.#owed);
    this.#owed = 0;
  }

  /** Something to be kept that is of no message. */
  note(notes: Notes): void {
    this.#keep.settle(0, notes);
  }
}
