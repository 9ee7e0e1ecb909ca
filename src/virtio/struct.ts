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

/** The values that a struct stands for: `ValuesOf<typeof Request>`. */
export type ValuesOf<S> = S extends Struct<infer F> ? Values<F> : never;

/** The struct of these values: `const Request: StructOf<RequestValues> = struct({...})`. */
export type StructOf<T> = Struct<{ readonly [K in keyof T]: Field<T[K]> }>;

/** 0..255. */
export const u8: Field<number> = {
  size: 1,
  read: (view, offset) => view.getUint8(offset),
  write: (view, offset, value) => view.setUint8(offset, value),
};

/** 0..65535. */
export const le16: Field<number> = {
  size: 2,
  read: (view, offset) => view.getUint16(offset, true),
  write: (view, offset, value) => view.setUint16(offset, value, true),
};

/** 0..2^32 - 1; a value outside wraps. */
export const le32: Field<number> = {
  size: 4,
  read: (view, offset) => view.getUint32(offset, true),
  write: (view, offset, value) => view.setUint32(offset, value, true),
};

/** -2^31..2^31 - 1; a value outside wraps. */
export const sle32: Field<number> = {
  size: 4,
  read: (view, offset) => view.getInt32(offset, true),
  write: (view, offset, value) => view.setInt32(offset, value, true),
};

/** 0..2^64 - 1 as a number: exact up to 2^53, rounded above. */
export const le64: Field<number> = {
  size: 8,
  read: (view, offset) => view.getUint32(offset + 4, true) * 0x1_0000_0000 + view.getUint32(offset, true),
  write(view, offset, value) {
    view.setUint32(offset, value % 0x1_0000_0000, true);
    view.setUint32(offset + 4, Math.floor(value / 0x1_0000_0000), true);
  },
};

/** 0..2^64 - 1, exactly. */
export const le64big: Field<bigint> = {
  size: 8,
  read: (view, offset) => view.getBigUint64(offset, true),
  write: (view, offset, value) => view.setBigUint64(offset, value, true),
};

/** Raw bytes; a shorter value is filled up with zeros. */
export function bytes(size: number): Field<Uint8Array> {
  return {
    size,
    read: (view, offset) => new Uint8Array(view.buffer, view.byteOffset + offset, size).slice(),
    write(view, offset, value) {
      if (value.length > size) throw new RangeError(`${value.length} bytes do not fit into ${size}`);
      new Uint8Array(view.buffer, view.byteOffset + offset, size).fill(0).set(value);
    },
  };
}

/** Text of one byte a character (ISO 8859-1), ended by a NUL where it is shorter than the field. */
export function text(size: number): Field<string> {
  const raw = bytes(size);
  return {
    size,
    read(view, offset) {
      const all = raw.read(view, offset);
      const end = all.indexOf(0);
      return String.fromCharCode(...(end === -1 ? all : all.subarray(0, end)));
    },
    write(view, offset, value) {
      const codes = Uint8Array.from(value, (character) => character.charCodeAt(0));
      if ([...value].some((character) => character.charCodeAt(0) > 0xff)) {
        throw new RangeError('text on the wire takes characters up to U+00FF');
      }
      raw.write(view, offset, codes);
    },
  };
}

/** A struct on the wire, little-endian and packed: written once, typed from that. */
export class Struct<F extends Fields> {
  /** Bytes. */
  readonly size: number;
  /** Byte offsets of the fields. */
  readonly offsets: { readonly [K in keyof F]: number };
  /** The fields as they were declared. */
  readonly fields: F;
  readonly #placed: readonly (readonly [name: string, field: Field<unknown>, offset: number])[];

  constructor(fields: F) {
    this.fields = fields;
    let offset = 0;
    const placed: [string, Field<unknown>, number][] = [];
    for (const [name, field] of Object.entries(fields)) {
      placed.push([name, field as Field<unknown>, offset]);
      offset += field.size;
    }
    this.size = offset;
    this.#placed = placed;
    this.offsets = Object.fromEntries(placed.map(([name, , at]) => [name, at])) as { [K in keyof F]: number };
  }

  /** @throws RangeError when there are fewer than `size` bytes; more are ignored. */
  decode(from: Uint8Array): Values<F> {
    if (from.length < this.size)
      throw new RangeError(`a struct of ${this.size} bytes is not in ${from.length}`);
    const view = new DataView(from.buffer, from.byteOffset, this.size);
    const values: Record<string, unknown> = {};
    for (const [name, field, at] of this.#placed) values[name] = field.read(view, at);
    return values as Values<F>;
  }

  /** Fields that are left out are zeros. */
  encode(values: Partial<Values<F>>): Uint8Array {
    const out = new Uint8Array(this.size);
    const view = new DataView(out.buffer);
    for (const [name, field, at] of this.#placed) {
      const value = values[name];
      if (value !== undefined) field.write(view, at, value);
    }
    return out;
  }

  /** The fields as properties of an object, read and written where they lie in `view`. */
  over(view: DataView): Values<F> {
    const object = {};
    for (const [name, field, at] of this.#placed) {
      Object.defineProperty(object, name, {
        enumerable: true,
        get: () => field.read(view, at),
        set: (value: unknown) => field.write(view, at, value),
      });
    }
    return object as Values<F>;
  }
}

/** Declares a struct on the wire. */
export function struct<const F extends Fields>(fields: F): Struct<F> {
  return new Struct(fields);
}
