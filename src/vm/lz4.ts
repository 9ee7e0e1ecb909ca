/** First four bytes of a file in LZ4's legacy frame, little-endian: what `lz4 -l` writes, and Linux's build with it. */
export const LZ4_LEGACY_MAGIC = 0x184c2102;

/**
 * Unpacks LZ4's legacy frame: after the magic number, blocks each with their packed length (le32) in front, up to the end.
 *
 * @param size - bytes that come out; a file that gives more or fewer is broken.
 * @throws RangeError for a broken file.
 */
export function unpackLz4Legacy(packed: Uint8Array, size: number): Uint8Array {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  if (packed.length < 4 || view.getUint32(0, true) !== LZ4_LEGACY_MAGIC)
    throw new RangeError('not an LZ4 legacy frame');
  const output = new Uint8Array(size);
  let written = 0;
  for (let at = 4; at + 4 <= packed.length; ) {
    const length = view.getUint32(at, true);
    at += 4;
    if (at + length > packed.length) throw new RangeError('an LZ4 block is cut off');
    written = unpackBlock(packed.subarray(at, at + length), output, written);
    at += length;
  }
  if (written !== size) throw new RangeError(`an LZ4 frame has ${written} bytes instead of ${size}`);
  return output;
}

/** Unpacks one block behind what is already in `output`, to which it may refer back, and returns the new end. */
function unpackBlock(block: Uint8Array, output: Uint8Array, start: number): number {
  let from = 0;
  let to = start;
  const extended = (length: number): number => {
    let total = length;
    if (length === 15) {
      let more: number;
      do {
        more = block[from++] ?? broken();
        total += more;
      } while (more === 255);
    }
    return total;
  };
  for (;;) {
    const token = block[from++] ?? broken();
    const literals = extended(token >> 4);
    if (from + literals > block.length || to + literals > output.length) broken();
    output.set(block.subarray(from, from + literals), to);
    from += literals;
    to += literals;
    // The last sequence of a block has literals only.
    if (from === block.length) return to;
    const distance = (block[from] ?? 0) | ((block[from + 1] ?? broken()) << 8);
    from += 2;
    const length = extended(token & 15) + 4;
    if (distance === 0 || distance > to || to + length > output.length) broken();
    if (distance >= length) {
      output.copyWithin(to, to - distance, to - distance + length);
      to += length;
    } else {
      // A match that runs into its own output repeats it: byte by byte.
      for (const end = to + length; to < end; to++) output[to] = output[to - distance]!;
    }
  }
}

function broken(): never {
  throw new RangeError('an LZ4 block is broken');
}
