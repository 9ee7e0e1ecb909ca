import type { GuestAddress } from './address.js';
import { type FoundRegion, GuestMemory } from './guest-memory.js';
import { JoinedView } from './joined-view.js';
import { MemoryError } from './memory-error.js';
import type { MemoryView } from './memory-view.js';

/** What memory is translated for, as bits. */
export const ACCESS_READ = 1;
export const ACCESS_WRITE = 2;

/** A stretch of addresses, what they may be used for, and what they stand for. */
interface Piece {
  readonly start: number;
  readonly end: number;
  readonly access: number;
  readonly target: number;
}

/** What translated memory stands on. */
export interface TranslationPorts {
  /** The memory that this range of targets is, if it lies in one piece. */
  resolve(target: number, length: number): MemoryView | undefined;
  /**
   * Nothing is known of this address, or not for this access.
   *
   * @throws VirtqueueError when it is known that there is nothing.
   */
  wanted(address: number, access: number): void;
}

/** Pieces that are kept: more than a driver has in flight, at some 200 bytes each. */
const PIECES_MOST = 16_384;

/**
 * Guest memory behind an IOMMU: addresses mean what somebody else says, who may take that back, and has to be asked. A range that nothing is
 * known of is asked for when it is used, and `MemoryError` `UNTRANSLATED` thrown: try again later.
 */
export class TranslatedMemory extends GuestMemory {
  override readonly translated: boolean = true;
  readonly #ports: TranslationPorts;
  /** By ascending address; they don't overlap, and those that could be one are. */
  readonly #pieces: Piece[] = [];
  #served = 0;
  /** When there were too many pieces last. */
  #servedBefore = -1;

  constructor(ports: TranslationPorts) {
    super();
    this.#ports = ports;
  }

  /** All that was wanted for something was there. */
  served(): void {
    this.#served += 1;
  }

  /** Translations that are known. */
  get pieces(): number {
    return this.#pieces.length;
  }

  /**
   * From now on these addresses stand for those from `target` on. What is known of any of them already is replaced; where they stand for the
   * same already, what they may be used for is added.
   *
   * @returns whether something that was known is known no more, or otherwise; `undefined` when there is no such target, or no room.
   */
  map(start: number, length: number, target: number, access: number): boolean | undefined {
    if (this.#ports.resolve(target, length) === undefined) return undefined;
    const piece = { start, end: start + length, target, access };
    const known = this.#pieces[this.#indexOf(start)];
    if (known !== undefined && contains(known, piece)) {
      // For more than it was, or for the same once more: less is said by taking it back first.
      piece.access |= known.access;
      if (piece.access === known.access) return false;
    }
    if (this.#pieces.length < PIECES_MOST) {
      const taken = this.unmap(start, length);
      this.#insert(piece);
      return taken;
    }
    // Mostly of what is long done with. But if it is what is wanted now, forgetting it would never end.
    if (this.#served === this.#servedBefore) return undefined;
    this.#servedBefore = this.#served;
    this.unmap(0, Number.POSITIVE_INFINITY);
    this.#insert(piece);
    return true;
  }

  /** Nothing is known of these addresses any more. @returns whether something was. */
  unmap(start: number, length: number): boolean {
    const end = start + length;
    const from = this.#indexOf(start);
    let to = from;
    while (to < this.#pieces.length && this.#pieces[to]!.start < end) to += 1;
    const gone = this.#pieces.splice(from, to - from);
    for (const piece of gone) {
      this.remove(piece.start as GuestAddress, piece.end - piece.start);
      if (piece.start < start) this.#put({ ...piece, end: start });
      if (piece.end > end) this.#put({ ...piece, start: end, target: piece.target + (end - piece.start) });
    }
    return gone.length > 0;
  }

  /** What targets are has changed. @returns whether some are no more: their translations are forgotten. */
  resolveAgain(): boolean {
    const pieces = this.#pieces.splice(0);
    this.clear();
    let lost = false;
    for (const piece of pieces) {
      if (this.#ports.resolve(piece.target, piece.end - piece.start) === undefined) lost = true;
      else this.#put(piece);
    }
    return lost;
  }

  /** Whether each byte is translated for such an access. The first that is not is asked for. */
  has(address: number, length: number, access: number): boolean {
    const missing = this.#firstMissing(address, length, access);
    if (missing === undefined) return true;
    this.#ports.wanted(missing, access);
    return false;
  }

  /** Likewise, without asking. */
  knows(address: number, length: number, access: number): boolean {
    return this.#firstMissing(address, length, access) === undefined;
  }

  /** Whether there may be such memory: what it is, is seen when it is used. */
  override covers(address: GuestAddress, length: number): boolean {
    return address >= 0 && length >= 0 && address + length <= Number.MAX_SAFE_INTEGER;
  }

  override regionOf(address: GuestAddress, length: number): FoundRegion | undefined {
    return this.knows(address, length, ACCESS_READ) ? super.regionOf(address, length) : undefined;
  }

  override view(address: GuestAddress, length: number): MemoryView {
    const views: MemoryView[] = [];
    for (let at = address as number; at < address + length; ) {
      const piece = this.#pieces[this.#indexOf(at)];
      if (piece === undefined || piece.start > at) throw new MemoryError('UNTRANSLATED', address, length);
      const end = Math.min(piece.end, address + length);
      views.push(super.view(at as GuestAddress, end - at));
      at = end;
    }
    return views.length === 1 ? views[0]! : new JoinedView(views);
  }

  override read(
    address: GuestAddress,
    into: Uint8Array,
    start = 0,
    length: number = into.length - start,
  ): void {
    if (!this.has(address, length, ACCESS_READ)) throw new MemoryError('UNTRANSLATED', address, length);
    super.read(address, into, start, length);
  }

  override write(
    address: GuestAddress,
    from: Uint8Array,
    start = 0,
    length: number = from.length - start,
  ): void {
    if (!this.has(address, length, ACCESS_WRITE)) throw new MemoryError('UNTRANSLATED', address, length);
    super.write(address, from, start, length);
  }

  #firstMissing(address: number, length: number, access: number): number | undefined {
    let at = address;
    for (let index = this.#indexOf(address); at < address + length; index++) {
      const piece = this.#pieces[index];
      if (piece === undefined || piece.start > at || (piece.access & access) !== access) return at;
      at = piece.end;
    }
    return undefined;
  }

  /** Of the first piece that ends behind this address. */
  #indexOf(address: number): number {
    let low = 0;
    let high = this.#pieces.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#pieces[middle]!.end > address) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** Puts a piece where nothing is known, as one with its neighbours where it can be. */
  #insert(piece: Piece): void {
    let all = piece;
    const index = this.#indexOf(piece.start);
    const before = this.#pieces[index - 1];
    const after = this.#pieces[index];
    for (const [left, right] of [
      [before, piece],
      [piece, after],
    ]) {
      if (left === undefined || right === undefined || !touch(left, right)) continue;
      const joined = {
        ...all,
        start: Math.min(all.start, left.start),
        end: Math.max(all.end, right.end),
        target: Math.min(all.target, left.target),
      };
      if (this.#ports.resolve(joined.target, joined.end - joined.start) === undefined) continue;
      all = joined;
      this.#drop(left === piece ? right : left);
    }
    this.#put(all);
  }

  #drop(piece: Piece): void {
    this.#pieces.splice(this.#pieces.indexOf(piece), 1);
    this.remove(piece.start as GuestAddress, piece.end - piece.start);
  }

  #put(piece: Piece): void {
    const view = this.#ports.resolve(piece.target, piece.end - piece.start);
    if (view === undefined) return;
    this.#pieces.splice(this.#indexOf(piece.start), 0, piece);
    this.add({ start: piece.start as GuestAddress, view });
  }
}

function touch(left: Piece, right: Piece): boolean {
  return (
    left.end === right.start &&
    left.access === right.access &&
    left.target + (left.end - left.start) === right.target
  );
}

function contains(outer: Piece, inner: Piece): boolean {
  return (
    outer.start <= inner.start &&
    outer.end >= inner.end &&
    inner.target - outer.target === inner.start - outer.start
  );
}
