/** Bytes on the wire that stand for values of one shape: a `struct`, or a `union` of them. */
export interface Layout<T> {
  /** Bytes; the least, when it is open (it ends in a tail, or is a union of structs of different sizes). */
  readonly size: number;
  /** Bytes at most; the same as `size` unless it is open. */
  readonly most: number;
  /** What it consists of, for messages: `{ a, b }`. */
  readonly outline: string;
  /** Copies of what lies in the array: an open one has all of it, others its first `size` bytes. @throws RangeError when that is too short. */
  decode(from: Uint8Array): T;
  /** Bytes of their own. */
  encode(values: NoInfer<T>): Uint8Array;
  /** Bytes of these values. */
  sizeOf(values: NoInfer<T>): number;
  /** Why these values can't be sent as they are, if they can't: `undefined` when all is there and of the right kind. */
  problem(values: unknown): string | undefined;
}

/** The values that a struct or a union stands for: `ValuesOf<typeof Request>`. */
export type ValuesOf<L> = L extends Layout<infer T> ? T : never;
