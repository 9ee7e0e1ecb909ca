/*
 * Copies of a few bytes: word by word, without the subarray that `set` would need, which costs more than the copy.
 */

/** Offsets from here on are no small integers, with which a loop is several times as fast. */
const FAR = 0x7fff_0000;
/** Up to so many bytes this is the faster way. */
const SHORT = 128;

/** Whether a copy of `length` bytes at `offset` of guest memory is one for these functions. */
export function isShort(offset: number, length: number): boolean {
  return length <= SHORT && offset < FAR;
}

/** Words of the array that was copied last, since that is mostly the next one too: a device has one for its requests. */
export class LastArray {
  #array: Uint8Array | undefined;
  #words: DataView | undefined;

  /** @returns `undefined` for an array that was not the last one: a view of it may not be worth its making. */
  wordsOf(array: Uint8Array): DataView | undefined {
    if (array !== this.#array) {
      this.#array = array;
      this.#words = undefined;
      return undefined;
    }
    if (this.#words === undefined && !canChangeSize(array.buffer)) {
      this.#words = new DataView(array.buffer, array.byteOffset, array.length);
    }
    return this.#words;
  }
}

/** Then words of it could end before it does. */
function canChangeSize(buffer: ArrayBufferLike): boolean {
  const { resizable, growable } = buffer as { readonly resizable?: boolean; readonly growable?: boolean };
  return resizable === true || growable === true;
}

// Small integers all through, and no index but one for each side: these loops are a third of what a small request costs.

/** Copies `length` bytes. */
export function copyWords(
  from: DataView,
  fromStart: number,
  to: DataView,
  toStart: number,
  length: number,
): void {
  let at = fromStart | 0;
  let into = toStart | 0;
  let left = length | 0;
  while (left >= 16) {
    to.setInt32(into, from.getInt32(at, true), true);
    to.setInt32(into + 4, from.getInt32(at + 4, true), true);
    to.setInt32(into + 8, from.getInt32(at + 8, true), true);
    to.setInt32(into + 12, from.getInt32(at + 12, true), true);
    at = (at + 16) | 0;
    into = (into + 16) | 0;
    left = (left - 16) | 0;
  }
  while (left >= 4) {
    to.setInt32(into, from.getInt32(at, true), true);
    at = (at + 4) | 0;
    into = (into + 4) | 0;
    left = (left - 4) | 0;
  }
  while (left > 0) {
    to.setUint8(into, from.getUint8(at));
    at = (at + 1) | 0;
    into = (into + 1) | 0;
    left = (left - 1) | 0;
  }
}

/** Copies `length` bytes out of memory into an array that there are no words of. */
export function copyWordsOut(
  from: DataView,
  fromStart: number,
  to: Uint8Array,
  toStart: number,
  length: number,
): void {
  let at = fromStart | 0;
  let into = toStart | 0;
  let left = length | 0;
  while (left >= 4) {
    const word = from.getInt32(at, true);
    to[into] = word;
    to[into + 1] = word >>> 8;
    to[into + 2] = word >>> 16;
    to[into + 3] = word >>> 24;
    at = (at + 4) | 0;
    into = (into + 4) | 0;
    left = (left - 4) | 0;
  }
  while (left > 0) {
    to[into] = from.getUint8(at);
    at = (at + 1) | 0;
    into = (into + 1) | 0;
    left = (left - 1) | 0;
  }
}

/** Copies `length` bytes into memory from an array that there are no words of. */
export function copyWordsIn(
  to: DataView,
  toStart: number,
  from: Uint8Array,
  fromStart: number,
  length: number,
): void {
  let at = fromStart | 0;
  let into = toStart | 0;
  let left = length | 0;
  while (left >= 4) {
    const word = from[at]! | (from[at + 1]! << 8) | (from[at + 2]! << 16) | (from[at + 3]! << 24);
    to.setInt32(into, word, true);
    at = (at + 4) | 0;
    into = (into + 4) | 0;
    left = (left - 4) | 0;
  }
  while (left > 0) {
    to.setUint8(into, from[at]!);
    at = (at + 1) | 0;
    into = (into + 1) | 0;
    left = (left - 1) | 0;
  }
}
