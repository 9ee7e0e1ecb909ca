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

/** Copies `length` bytes. */
export function copyWords(
  from: DataView,
  fromStart: number,
  to: DataView,
  toStart: number,
  length: number,
): void {
  const [at, into] = [fromStart | 0, toStart | 0];
  let i = 0;
  for (; i + 16 <= length; i += 16) {
    to.setInt32(into + i, from.getInt32(at + i, true), true);
    to.setInt32(into + i + 4, from.getInt32(at + i + 4, true), true);
    to.setInt32(into + i + 8, from.getInt32(at + i + 8, true), true);
    to.setInt32(into + i + 12, from.getInt32(at + i + 12, true), true);
  }
  for (; i + 4 <= length; i += 4) to.setInt32(into + i, from.getInt32(at + i, true), true);
  for (; i < length; i++) to.setUint8(into + i, from.getUint8(at + i));
}

/** Copies `length` bytes out of memory into an array that there are no words of. */
export function copyWordsOut(
  from: DataView,
  fromStart: number,
  to: Uint8Array,
  toStart: number,
  length: number,
): void {
  const [at, into] = [fromStart | 0, toStart | 0];
  let i = 0;
  for (; i + 4 <= length; i += 4) {
    const word = from.getInt32(at + i, true);
    to[into + i] = word;
    to[into + i + 1] = word >>> 8;
    to[into + i + 2] = word >>> 16;
    to[into + i + 3] = word >>> 24;
  }
  for (; i < length; i++) to[into + i] = from.getUint8(at + i);
}

/** Copies `length` bytes into memory from an array that there are no words of. */
export function copyWordsIn(
  to: DataView,
  toStart: number,
  from: Uint8Array,
  fromStart: number,
  length: number,
): void {
  const [into, at] = [toStart | 0, fromStart | 0];
  let i = 0;
  for (; i + 4 <= length; i += 4) {
    const word =
      from[at + i]! | (from[at + i + 1]! << 8) | (from[at + i + 2]! << 16) | (from[at + i + 3]! << 24);
    to.setInt32(into + i, word, true);
  }
  for (; i < length; i++) to.setUint8(into + i, from[at + i]!);
}
