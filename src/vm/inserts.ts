import { randomBytes } from 'node:crypto';

/*
 * What others than the guest say on the pipe of its console, so that all that is said there stays in the order in which it happened: a write of so few
 * bytes is whole, in its place (pipe(7), PIPE_BUF). Each is marked with what no guest can know.
 */

/** Bytes that are written as one. */
const WHOLE = 4096;
/** Bytes of a mark: the first is one that consoles hardly have. */
const MARK = 17;
/** Behind the mark: who says it (le32), how many bytes (le16), and whether more of it follows (u8). */
const HEADER = MARK + 7;
/** Bytes of one that are kept until the rest is there. */
const LONGEST = 1 << 20;

/** A mark for one pipe. */
export function makeMark(): Buffer {
  return Buffer.concat([Buffer.of(0), randomBytes(MARK - 1)]);
}

/**
 * What is to be written, a piece at a time.
 *
 * @param writer - tells those who write to the pipe apart.
 */
export function* piecesOf(mark: Uint8Array, writer: number, bytes: Uint8Array): Generator<Buffer> {
  let at = 0;
  do {
    const size = Math.min(bytes.length - at, WHOLE - HEADER);
    const piece = Buffer.allocUnsafe(HEADER + size);
    piece.set(mark);
    piece.writeUInt32LE(writer, MARK);
    piece.writeUInt16LE(size, MARK + 4);
    piece[MARK + 6] = at + size < bytes.length ? 1 : 0;
    piece.set(bytes.subarray(at, at + size), HEADER);
    at += size;
    yield piece;
  } while (at < bytes.length);
}

/** Tells what was inserted from what the guest printed. */
export class InsertReader {
  readonly mark: Buffer = makeMark();
  readonly #console: (bytes: Buffer) => void;
  readonly #inserted: (bytes: Buffer) => void;
  #pending: Buffer = Buffer.alloc(0);
  #busy = false;
  /** What each has begun to say. */
  readonly #begun = new Map<number, Buffer>();

  /** @param inserted - called with each insert when it is whole, between what the guest printed before and after it. */
  constructor(console: (bytes: Buffer) => void, inserted: (bytes: Buffer) => void) {
    this.#console = console;
    this.#inserted = inserted;
  }

  push(bytes: Buffer): void {
    this.#pending = this.#pending.length > 0 ? Buffer.concat([this.#pending, bytes]) : bytes;
    // Whoever is told may push more, whose turn comes after that.
    if (this.#busy) return;
    this.#busy = true;
    try {
      this.#sort();
    } finally {
      this.#busy = false;
    }
  }

  #sort(): void {
    for (;;) {
      const at = this.#pending.indexOf(this.mark);
      if (at !== 0) {
        const printed = this.#take(at > 0 ? at : this.#pending.length - this.#held());
        if (printed.length > 0) this.#console(printed);
        if (this.#pending.length === this.#held()) return;
        continue;
      }
      const header = this.#pending;
      const end = header.length < HEADER ? Number.POSITIVE_INFINITY : HEADER + header.readUInt16LE(MARK + 4);
      if (end > header.length) return;
      this.#insert(this.#take(end));
    }
  }

  /** What looks like the beginning of a mark is none: nothing follows. */
  end(): void {
    const rest = this.#take(this.#pending.length);
    if (rest.length > 0 && !rest.subarray(0, MARK).equals(this.mark)) this.#console(rest);
  }

  #take(length: number): Buffer {
    const taken = this.#pending.subarray(0, length);
    this.#pending = this.#pending.subarray(length);
    return taken;
  }

  #insert(piece: Buffer): void {
    const writer = piece.readUInt32LE(MARK);
    const before = this.#begun.get(writer);
    const bytes = piece.subarray(HEADER);
    const whole = before === undefined ? bytes : Buffer.concat([before, bytes]);
    if (piece[MARK + 6] !== 0 && whole.length < LONGEST) {
      this.#begun.set(writer, whole);
      return;
    }
    this.#begun.delete(writer);
    this.#inserted(whole);
  }

  /** Bytes at the end that may be the first of a mark. */
  #held(): number {
    const { length } = this.#pending;
    const from = Math.max(0, length - MARK + 1);
    for (let at = this.#pending.indexOf(0, from); at >= 0; at = this.#pending.indexOf(0, at + 1))
      if (this.#pending.subarray(at).equals(this.mark.subarray(0, length - at))) return length - at;
    return 0;
  }
}
