/** One field of a struct on the wire: how many bytes, and what value they stand for. */
export interface Field<T> {
  /** Bytes; the least, when it is open. */
  readonly size: number;
  /** Of an open field, which goes on to the end of the message and can only be a struct's last: the most bytes. */
  readonly most?: number | undefined;
  /** An open one goes on to the end of the view. */
  read(view: DataView, offset: number): T;
  write(view: DataView, offset: number, value: NoInfer<T>): void;
  /** Of an open field: the bytes of a value. */
  sizeOf?(value: NoInfer<T>): number;
}

/** Fields by name, in the order in which they lie, without padding. */
export type Fields = Readonly<Record<string, Field<never> | Field<unknown>>>;

/** The values of a struct's fields. */
export type Values<F extends Fields> = { -readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never };

/** Whether it is as long as what it stands for: a tail, a union of structs of different sizes, a struct that ends in one. */
export function isOpen(field: Pick<Field<never>, 'size' | 'most'>): boolean {
  return field.most !== undefined && field.most !== field.size;
}
