import type { Field } from './field.js';

/** What a field of this package is; one that somebody else made has no kind, and is called. */
export type FieldKind = NumberKind | 'le64big' | 'be64big' | 'bytes' | 'text' | 'struct' | 'array' | 'open';

/** Of those whose value is a number. */
export type NumberKind =
  | 'u8'
  | 's8'
  | 'le16'
  | 'sle16'
  | 'be16'
  | 'le32'
  | 'sle32'
  | 'be32'
  | 'le64'
  | 'be64';

/** By the object itself: a copy with another `read` is another field. */
const kinds = new WeakMap<object, FieldKind>();

/** Says what a field is, so that codecs need not call it. */
export function ofKind<F extends Field<never> | Field<unknown>>(kind: FieldKind, field: F): F {
  kinds.set(field, kind);
  return field;
}

export function kindOf(field: Field<unknown>): FieldKind | undefined {
  return kinds.get(field);
}
