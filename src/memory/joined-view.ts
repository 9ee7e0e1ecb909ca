import type { MemoryView } from './memory-view.js';

/**
 * Several views, one after the other, as one. Slow where it matters whether they are, at the borders: whoever uses it has checked that these are
 * few.
 */
export class JoinedView implements MemoryView {
  readonly length: number;
  readonly #pieces: readonly MemoryView[];
  readonly #word = new Uint8Array(4);
  readonly #wordView = new DataView(this.#word.buffer);

  constructor(pieces: readonly MemoryView[]) {
    this.#pieces = pieces;
    this.length = pieces.reduce((sum, { length }) => sum + length, 0);
  }

  /**
   * What it consists of.
   *
   * @throws RangeError when a value of `size` bytes that is aligned to them could lie in two of these.
   */
  piecesOf(size: number): readonly MemoryView[] {
    const odd = this.#pieces.slice(0, -1).find(({ length }) => length % size !== 0);
    if (odd !== undefined)
      throw new RangeError(`a border of this memory view is not at a multiple of ${size}`);
    return this.#pieces;
  }

  read16(offset: number): number {
    this.copyOut(offset, this.#word, 0, 2);
    return this.#wordView.getUint16(0, true);
  }

  read32(offset: number): number {
    this.copyOut(offset, this.#word, 0, 4);
    return this.#wordView.getUint32(0, true);
  }

  write16(offset: number, value: number): void {
    this.#wordView.setUint16(0, value, true);
    this.copyIn(offset, this.#word, 0, 2);
  }

  write32(offset: number, value: number): void {
    this.#wordView.setUint32(0, value, true);
    this.copyIn(offset, this.#word, 0, 4);
  }

  /** @throws RangeError where it lies in two pieces: no atomic access can be had there. */
  load16(offset: number): number {
    const at = this.#find(offset, 2);
    return this.#pieces[at.index]!.load16(at.offset);
  }

  /** @throws RangeError likewise. */
  loadWord(offset: number): number {
    const at = this.#find(offset, 4);
    return this.#pieces[at.index]!.loadWord(at.offset);
  }

  /** @throws RangeError likewise. */
  store16(offset: number, value: number): void {
    const at = this.#find(offset, 2);
    this.#pieces[at.index]!.store16(at.offset, value);
  }

  copyOut(offset: number, into: Uint8Array, start: number, length: number): void {
    this.#each(offset, length, (piece, at, done, here) => piece.copyOut(at, into, start + done, here));
  }

  copyIn(offset: number, from: Uint8Array, start: number, length: number): void {
    this.#each(offset, length, (piece, at, done, here) => piece.copyIn(at, from, start + done, here));
  }

  slice(offset: number, length: number): MemoryView {
    const pieces: MemoryView[] = [];
    this.#each(offset, length, (piece, at, _done, here) => pieces.push(piece.slice(at, here)));
    return pieces.length === 1 ? pieces[0]! : new JoinedView(pieces);
  }

  #find(offset: number, length: number): { index: number; offset: number } {
    let before = 0;
    for (const [index, piece] of this.#pieces.entries()) {
      if (offset >= before && offset + length <= before + piece.length)
        return { index, offset: offset - before };
      before += piece.length;
    }
    throw new RangeError(`offset ${offset} is outside this memory view, or at a border in it`);
  }

  #each(
    offset: number,
    length: number,
    visit: (piece: MemoryView, at: number, done: number, here: number) => void,
  ): void {
    if (!(offset >= 0 && length >= 0 && offset + length <= this.length)) {
      throw new RangeError(`offset ${offset} is outside this memory view`);
    }
    let before = 0;
    let done = 0;
    for (const piece of this.#pieces) {
      const at = offset + done - before;
      if (done < length && at < piece.length) {
        const here = Math.min(length - done, piece.length - at);
        visit(piece, at, done, here);
        done += here;
      }
      before += piece.length;
    }
  }
}
