import type { Field } from './field.js';

/** What a field of this package is; one that somebody else made has no kind, and is called. */
export type FieldKind = 'u8' | 'le16' | 'le32' | 'sle32' | 'le64' | 'le64big' | 'bytes' | 'text';

/** By the object itself: a copy with another `read` is another field. */
const kinds = new WeakMap<object, FieldKind>();

/** Says what a field is, so that codecs need not call it. */
export function ofKind<T>(kind: FieldKind, field: Field<T>): Field<T> {
  kinds.set(field, kind);
  return field;
}

export function kindOf(field: Field<unknown>): FieldKind | undefined {
  return kinds.get(field);
}
