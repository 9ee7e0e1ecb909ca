/** What one end does that the other can see, or wait for: one step. */
export type Access =
  | {
      readonly kind: 'read' | 'write' | 'store';
      readonly offset: number;
      readonly length: 1 | 2 | 4;
      value: number;
    }
  | { readonly kind: 'ring' | 'wait' | 'end' }
  | { readonly kind: 'failed'; readonly error: Error };

/** Some bytes of the shared memory that are read or written at once. */
export interface Piece {
  readonly offset: number;
  readonly length: 1 | 2 | 4;
}

/** What a processor touches at once, of a longer copy. */
export function piecesOf(offset: number, length: number): Piece[] {
  const pieces: Piece[] = [];
  for (let at = offset; at < offset + length; ) {
    const left = offset + length - at;
    const piece = at % 4 === 0 && left >= 4 ? 4 : at % 2 === 0 && left >= 2 ? 2 : 1;
    pieces.push({ offset: at, length: piece });
    at += piece;
  }
  return pieces;
}

/** The bits of the word around it that an access touches. */
export function maskOf({ offset, length }: Piece): number {
  return length === 4 ? -1 : ((1 << (8 * length)) - 1) << (8 * (offset & 3));
}
