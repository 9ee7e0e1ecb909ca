import { canCompile, compiledCodec } from './compiled-codec.js';
import { copyOf } from './copy-of.js';
import { type Field, type Fields, isOpen, type Values } from './field.js';
import { ofKind } from './field-kind.js';
import { interpretedCodec } from './interpreted-codec.js';
import { readLatin1, writeLatin1 } from './latin1.js';
import type { Layout } from './layout.js';
import type { PlacedField, StructCodec } from './struct-codec.js';
import { structProblem } from './value-problem.js';

export type { Field, Fields, Values };

/** The struct of these values: `const Request: StructOf<RequestValues> = struct({...})`. */
export type StructOf<T> = Struct<{ readonly [K in keyof T]: Field<T[K]> }>;

/** 0..255. */
export const u8: Field<number> = ofKind('u8', {
  size: 1,
  read: (view, offset) => view.getUint8(offset),
  write: (view, offset, value) => view.setUint8(offset, value),
});

/** 0..65535. */
export const le16: Field<number> = ofKind('le16', {
  size: 2,
  read: (view, offset) => view.getUint16(offset, true),
  write: (view, offset, value) => view.setUint16(offset, value, true),
});

/** 0..2^32 - 1; a value outside wraps. */
export const le32: Field<number> = ofKind('le32', {
  size: 4,
  read: (view, offset) => view.getUint32(offset, true),
  write: (view, offset, value) => view.setUint32(offset, value, true),
});

/** -2^31..2^31 - 1; a value outside wraps. */
export const sle32: Field<number> = ofKind('sle32', {
  size: 4,
  read: (view, offset) => view.getInt32(offset, true),
  write: (view, offset, value) => view.setInt32(offset, value, true),
});

/** 0..2^64 - 1 as a number: exact up to 2^53, rounded above. */
export const le64: Field<number> = ofKind('le64', {
  size: 8,
  read: (view, offset) => view.getUint32(offset + 4, true) * 0x1_0000_0000 + view.getUint32(offset, true),
  write(view, offset, value) {
    view.setUint32(offset, value % 0x1_0000_0000, true);
    view.setUint32(offset + 4, Math.floor(value / 0x1_0000_0000), true);
  },
});

/** 0..2^64 - 1, exactly. */
export const le64big: Field<bigint> = ofKind('le64big', {
  size: 8,
  read: (view, offset) => view.getBigUint64(offset, true),
  write: (view, offset, value) => view.setBigUint64(offset, value, true),
});

/** Raw bytes; a shorter value is filled up with zeros. */
export function bytes(size: number): Field<Uint8Array> {
  return ofKind('bytes', {
    size,
    read: (view, offset) => copyOf(new Uint8Array(view.buffer, view.byteOffset + offset, size)),
    write(view, offset, value) {
      if (value.length > size) throw new RangeError(`${value.length} bytes do not fit into ${size}`);
      new Uint8Array(view.buffer, view.byteOffset + offset, size).fill(0).set(value);
    },
  });
}

/** Text of one byte a character (ISO 8859-1), ended by a NUL where it is shorter than the field. */
export function text(size: number): Field<string> {
  const all = (view: DataView, offset: number): Uint8Array =>
    new Uint8Array(view.buffer, view.byteOffset + offset, size);
  return ofKind('text', {
    size,
    read: (view, offset) => readLatin1(all(view, offset), 0, size),
    write: (view, offset, value) => writeLatin1(all(view, offset), 0, size, value),
  });
}

/**
 * A struct on the wire, packed: written once, typed from that. It is a field too, so that structs can be nested; one whose last field is
 * a tail is open, as that is.
 */
export class Struct<F extends Fields> implements Layout<Values<F>>, Field<Values<F>> {
  /** Bytes; the least, when it ends in a tail. */
  readonly size: number;
  readonly most: number;
  /** Byte offsets of the fields. */
  readonly offsets: { readonly [K in keyof F]: number };
  /** The fields as they were declared. */
  readonly fields: F;
  /**
   * The fields in order, with their names and offsets: for the codecs.
   *
   * @internal
   */
  readonly placed: readonly PlacedField[];
  #codec: StructCodec | undefined;

  /** @throws RangeError for a field of a size that can't be, or one of variable length that is not the last. */
  constructor(fields: F) {
    this.fields = fields;
    let size = 0;
    const placed: PlacedField[] = [];
    for (const [name, field] of Object.entries(fields)) {
      const before = placed.at(-1);
      if (before !== undefined && isOpen(before.field)) {
        throw new RangeError(
          `field ${before.name} is of variable length: only the last one can be, and ${name} follows`,
        );
      }
      if (!(Number.isSafeInteger(field.size) && field.size >= 0)) {
        throw new RangeError(`field ${name} has ${field.size} bytes: take a whole number`);
      }
      placed.push({ name, field: field as Field<unknown>, offset: size });
      size += field.size;
    }
    const last = placed.at(-1);
    this.size = size;
    this.most = last?.field.most === undefined ? size : last.offset + last.field.most;
    this.placed = placed;
    this.offsets = Object.fromEntries(placed.map(({ name, offset }) => [name, offset])) as {
      [K in keyof F]: number;
    };
    ofKind(isOpen(this) ? 'open' : 'struct', this);
  }

  get outline(): string {
    const names = this.placed.slice(0, NAMED).map(({ name }) => name);
    if (this.placed.length > NAMED) names.push('...');
    return names.length === 0 ? '{}' : `{ ${names.join(', ')} }`;
  }

  /** @throws RangeError when there are fewer than `size` bytes; more are ignored, but for those of a tail. */
  decode(from: Uint8Array): Values<F> {
    if (from.length < this.size)
      throw new RangeError(`a struct of ${this.size} bytes is not in ${from.length}`);
    const codec = this.#codec ?? this.#make();
    return codec.decode(from.length > this.most ? from.subarray(0, this.most) : from) as Values<F>;
  }

  /** Fields that are left out are zeros. */
  encode(values: Partial<Values<F>>): Uint8Array {
    const out = new Uint8Array(this.sizeOf(values));
    (this.#codec ?? this.#make()).encode(values, out);
    return out;
  }

  /**
   * As `encode`, over the first bytes of an array that is there already; what was in them is gone.
   *
   * @throws RangeError when it has fewer.
   */
  encodeInto(values: Partial<Values<F>>, into: Uint8Array): void {
    const size = this.most === this.size ? this.size : this.sizeOf(values);
    if (into.length < size)
      throw new RangeError(`a struct of ${size} bytes does not fit into ${into.length}`);
    (this.#codec ?? this.#make()).encode(values, into);
  }

  sizeOf(values: Partial<Values<F>>): number {
    const last = this.placed.at(-1);
    if (last === undefined || !isOpen(last.field)) return this.size;
    const value = (values as Record<string, unknown>)[last.name];
    return value === undefined ? this.size : last.offset + last.field.sizeOf!(value);
  }

  problem(values: unknown): string | undefined {
    return structProblem(this, values);
  }

  /** As a field of another. */
  read(view: DataView, offset: number): Values<F> {
    const size = isOpen(this) ? view.byteLength - offset : this.size;
    return this.decode(new Uint8Array(view.buffer, view.byteOffset + offset, size));
  }

  /** As a field of another. */
  write(view: DataView, offset: number, values: Partial<Values<F>>): void {
    this.encodeInto(values, new Uint8Array(view.buffer, view.byteOffset + offset, this.sizeOf(values)));
  }

  /**
   * The fields as properties of an object, read and written where they lie in `view`, those of nested structs too. Arrays and bytes are
   * written as a whole.
   */
  over(view: DataView): Values<F> {
    const object = {};
    for (const { name, field, offset } of this.placed) {
      const nested =
        field instanceof Struct ? field.over(new DataView(view.buffer, view.byteOffset + offset)) : undefined;
      Object.defineProperty(object, name, {
        enumerable: true,
        get: () => nested ?? frozen(field.read(view, offset)),
        set: (value: unknown) => field.write(view, offset, value),
      });
    }
    return object as Values<F>;
  }

  /** When first used: most structs of a program never are. */
  #make(): StructCodec {
    const make = canCompile ? compiledCodec : interpretedCodec;
    this.#codec = make(this.size, this.placed);
    return this.#codec;
  }
}

/** Field names shown in messages. */
const NAMED = 6;

/** A copy that can't be mistaken for the thing itself. */
function frozen(value: unknown): unknown {
  return Array.isArray(value) ? Object.freeze(value) : value;
}

/** Declares a struct on the wire. */
export function struct<const F extends Fields>(fields: F): Struct<F> {
  return new Struct(fields);
}
