import { MappedView } from '../../src/memory/mapped-view.js';
import { type AccessKind, WatchedView } from '../../src/virtqueue/testing/watched-view.js';
import { type Access, type Piece, piecesOf } from './access.js';

/** What is changed in one end, as if its code or its compiler did without a barrier or a look. Names are those of fields of the ring. */
export interface Plant {
  /** Sequentially consistent stores there are plain ones. */
  readonly weak?: string;
  /** Stores to these fields come only after the next access of that kind, such as `store avail.idx`. */
  readonly late?: { readonly what: readonly string[]; readonly after: string };
  /** Before that access, some bytes are read that are needed after it. */
  readonly early?: { readonly before: string; readonly what: (access: Piece) => Piece };
  /** Whether there is something to do is not looked at once more after asking to be told. */
  readonly blind?: true;
}

/** More accesses than an end can have use for. */
const ACCESSES_MOST = 5000;

/** There is no answer yet for what is read: the run has shown all that it can. */
class Unanswered extends Error {}

/** One run of one end's code, on memory that answers what it was told to answer, and its accesses. */
export class Run {
  readonly accesses: Access[] = [];
  readonly view: WatchedView;
  readonly #bytes: DataView;
  readonly #answers: readonly number[];
  readonly #nameOf: (offset: number) => string;
  readonly #plant: Plant;
  #answered = 0;
  #begun = false;
  #over = false;
  #kept: Access[] = [];
  #ahead: (Piece & { value: number }) | undefined;

  /** @param image - the memory as both ends find it. */
  constructor(
    image: Uint8Array,
    answers: readonly number[],
    nameOf: (offset: number) => string,
    plant: Plant,
    byWords: boolean,
  ) {
    const { buffer } = image.slice();
    this.#bytes = new DataView(buffer);
    this.#answers = answers;
    this.#nameOf = nameOf;
    this.#plant = plant;
    const before = (kind: AccessKind, offset: number, length: number): void => {
      if (this.#begun && (kind === 'read' || kind === 'load')) this.#read(offset, length);
    };
    const after = (kind: AccessKind, offset: number, length: number): void => {
      if (this.#begun && (kind === 'write' || kind === 'store')) this.#write(kind, offset, length);
    };
    this.view = new WatchedView(new MappedView(buffer), { before, after, byWords });
  }

  /** Both ends are made: from here on accesses are steps. */
  begin(): void {
    this.#begun = true;
  }

  ring(): void {
    if (!this.#begun) return;
    this.#letGo();
    this.#add({ kind: 'ring' });
  }

  wait(): void {
    this.#letGo();
    this.#add({ kind: 'wait' });
  }

  /** What an end makes of having found something after it asked to be told. */
  again(found: boolean): boolean {
    return found && this.#plant.blind !== true;
  }

  /** Runs the code of an end as far as the answers go. */
  all(code: () => void): readonly Access[] {
    try {
      code();
      this.#letGo();
      this.#add({ kind: 'end' });
    } catch (error) {
      if (!this.#over) this.accesses.push({ kind: 'failed', error: error as Error });
    }
    // What it left for a promise to do is nobody's business.
    this.#begun = false;
    return this.accesses;
  }

  #read(offset: number, length: number): void {
    for (const piece of piecesOf(offset, length)) {
      const name = `read ${this.#nameOf(piece.offset)}`;
      if (name === this.#plant.early?.before) {
        const what = this.#plant.early.what(piece);
        this.#ahead = { ...what, value: this.#answer(what) };
      }
      const ahead = this.#ahead;
      let value: number;
      if (ahead !== undefined && ahead.offset === piece.offset && ahead.length === piece.length) {
        value = ahead.value;
      } else {
        value = this.#answer(piece);
      }
      if (piece.length === 4) this.#bytes.setUint32(piece.offset, value, true);
      else if (piece.length === 2) this.#bytes.setUint16(piece.offset, value, true);
      else this.#bytes.setUint8(piece.offset, value);
      this.#passed(name);
    }
  }

  #answer(piece: Piece): number {
    const value = this.#answers[this.#answered];
    this.#answered += 1;
    this.#add({ kind: 'read', ...piece, value: value ?? 0 });
    if (value !== undefined) return value;
    this.#over = true;
    throw new Unanswered();
  }

  #write(kind: 'write' | 'store', offset: number, length: number): void {
    for (const piece of piecesOf(offset, length)) {
      const field = this.#nameOf(piece.offset);
      const access: Access = {
        kind: this.#plant.weak === field ? 'write' : kind,
        ...piece,
        value:
          piece.length === 4
            ? this.#bytes.getUint32(piece.offset, true)
            : piece.length === 2
              ? this.#bytes.getUint16(piece.offset, true)
              : this.#bytes.getUint8(piece.offset),
      };
      if (this.#plant.late?.what.includes(field) === true) {
        this.#kept.push(access);
      } else {
        this.#add(access);
        this.#passed(`${kind} ${field}`);
      }
    }
  }

  #passed(name: string): void {
    if (this.#plant.late?.after === name) this.#letGo();
  }

  #letGo(): void {
    for (const access of this.#kept.splice(0)) this.#add(access);
  }

  #add(access: Access): void {
    // Some code catches what is thrown through it.
    if (this.#over) throw new Unanswered();
    if (this.accesses.length === ACCESSES_MOST) throw new Error(`no end after ${ACCESSES_MOST} accesses`);
    this.accesses.push(access);
  }
}
