import type { Field } from './field.js';

/** A field, its name, and where in the struct it lies. */
export interface PlacedField {
  readonly name: string;
  readonly field: Field<unknown>;
  /** Bytes from the struct's start. */
  readonly offset: number;
}

/** The two directions of one struct. */
export interface StructCodec {
  /** @param bytes - at least as many as the struct has; nothing of the result lies in them. */
  decode(bytes: Uint8Array): Record<string, unknown>;
  /** Writes every byte of the struct, zeros for the fields that are left out; `into` has at least as many. */
  encode(values: Readonly<Record<string, unknown>>, into: Uint8Array): void;
}
