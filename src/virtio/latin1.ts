type Slice = (this: Uint8Array, from: number, to: number) => string;

/** Node's own, which takes any array of bytes; a browser has none. */
const nativeSlice: Slice | undefined = (
  globalThis as { readonly Buffer?: { readonly prototype: { readonly latin1Slice?: Slice } } }
).Buffer?.prototype.latin1Slice;

/** Arguments of one call: an engine has a limit. */
const AT_ONCE = 4096;

const slice: Slice =
  nativeSlice ??
  function (from, to) {
    let text = '';
    for (let at = from; at < to; at += AT_ONCE) {
      text += String.fromCharCode(...this.subarray(at, Math.min(at + AT_ONCE, to)));
    }
    return text;
  };

/** Text of one byte a character (ISO 8859-1) in `bytes[from..to)`, up to the first NUL. */
export function readLatin1(bytes: Uint8Array, from: number, to: number): string {
  const all = slice.call(bytes, from, to);
  const end = all.indexOf('\0');
  return end === -1 ? all : all.slice(0, end);
}

/**
 * Writes text so, and fills `bytes[from..to)` up with NULs.
 *
 * @throws TypeError for what is no string; RangeError for a character above U+00FF, or when it does not fit.
 */
export function writeLatin1(bytes: Uint8Array, from: number, to: number, text: string): void {
  if (typeof text !== 'string') throw new TypeError(`text on the wire is a string, not ${typeof text}`);
  const { length } = text;
  const room = to - from;
  for (let i = 0; i < length; i++) {
    const code = text.charCodeAt(i);
    if (code > 0xff) throw new RangeError('text on the wire takes characters up to U+00FF');
    // What is past the end is looked at all the same: the character is the first thing to complain about.
    if (i < room) bytes[from + i] = code;
  }
  if (length > room) throw new RangeError(`${length} bytes do not fit into ${room}`);
  for (let i = from + length; i < to; i++) bytes[i] = 0;
}
