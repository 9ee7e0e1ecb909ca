/** One field of a struct on the wire: how many bytes, and what value they stand for. */
export interface Field<T> {
  /** Bytes. */
  readonly size: number;
  read(view: DataView, offset: number): T;
  write(view: DataView, offset: number, value: T): void;
}

/** Fields by name, in the order in which they lie, without padding. */
export type Fields = Readonly<Record<string, Field<never> | Field<unknown>>>;

/** The values of a struct's fields. */
export type Values<F extends Fields> = { -readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never };
