import { ByteWriter } from './byte-codec.js';

/*
 * Plain values as bytes: what a device's `save` returns, for a process that is another. Each value is a byte that says its kind, then what
 * that needs; lengths and counts are le32.
 */

const KIND = {
  undefined: 0,
  null: 1,
  false: 2,
  true: 3,
  /** 8 bytes, IEEE 754. */
  number: 4,
  /** Its decimal digits, as a string has them. */
  bigint: 5,
  /** Bytes of UTF-8, then those. */
  string: 6,
  bytes: 7,
  array: 8,
  /** A count, then for each a name (a string without its kind) and a value. */
  object: 9,
  map: 10,
  set: 11,
} as const;

/** Values inside of values: no state that is meant has so many. */
const DEPTH_MOST = 100;

/**
 * @param value - `undefined`, `null`, a boolean, number, bigint or string, a `Uint8Array`; an array, a plain object, a `Map` or a `Set` of such.
 * @throws TypeError for any other, with where it is.
 */
export function encodeValue(value: unknown): Uint8Array {
  const out = new ByteWriter();
  write(out, value, 'the state', 0);
  return out.slice();
}

/**
 * The same value, of its own.
 *
 * @throws RangeError when these bytes are no value.
 */
export function decodeValue(bytes: Uint8Array): unknown {
  const from = new Reader(bytes);
  const value = read(from, 0);
  if (from.left > 0) throw new RangeError(`${from.left} bytes after its end`);
  return value;
}

function write(out: ByteWriter, value: unknown, where: string, depth: number): void {
  if (depth > DEPTH_MOST) throw new TypeError(`${where} is more than ${DEPTH_MOST} values deep`);
  switch (typeof value) {
    case 'undefined':
      out.u8(KIND.undefined);
      return;
    case 'boolean':
      out.u8(value ? KIND.true : KIND.false);
      return;
    case 'number':
      out.u8(KIND.number);
      out.f64(value);
      return;
    case 'bigint':
      out.u8(KIND.bigint);
      out.text(String(value));
      return;
    case 'string':
      out.u8(KIND.string);
      out.text(value);
      return;
    case 'object':
      writeObject(out, value, where, depth + 1);
      return;
    default:
      throw new TypeError(`${where} is a ${typeof value}, which has no bytes`);
  }
}

function writeObject(out: ByteWriter, value: object | null, where: string, depth: number): void {
  if (value === null) {
    out.u8(KIND.null);
  } else if (value instanceof Uint8Array) {
    out.u8(KIND.bytes);
    out.bytes(value);
  } else if (Array.isArray(value)) {
    out.u8(KIND.array);
    out.le32(value.length);
    // Holes are `undefined`: an iterator finds them.
    let index = 0;
    for (const each of value) write(out, each, `${where}[${index++}]`, depth);
  } else if (value instanceof Map) {
    out.u8(KIND.map);
    out.le32(value.size);
    for (const [key, each] of value) {
      write(out, key, `a key of ${where}`, depth);
      write(out, each, `${where}.get(${String(key)})`, depth);
    }
  } else if (value instanceof Set) {
    out.u8(KIND.set);
    out.le32(value.size);
    for (const each of value) write(out, each, `an element of ${where}`, depth);
  } else {
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype !== Object.prototype && prototype !== null) {
      throw new TypeError(`${where} is a ${value.constructor?.name ?? 'strange object'}, which has no bytes`);
    }
    const entries = Object.entries(value);
    out.u8(KIND.object);
    out.le32(entries.length);
    for (const [name, each] of entries) {
      out.text(name);
      write(out, each, `${where}.${name}`, depth);
    }
  }
}

function read(from: Reader, depth: number): unknown {
  if (depth > DEPTH_MOST) throw new RangeError(`more than ${DEPTH_MOST} values deep`);
  const kind = from.byte();
  switch (kind) {
    case KIND.undefined:
      return undefined;
    case KIND.null:
      return null;
    case KIND.false:
      return false;
    case KIND.true:
      return true;
    case KIND.number:
      return from.number();
    case KIND.bigint:
      return integer(from.text());
    case KIND.string:
      return from.text();
    case KIND.bytes:
      return from.take(from.count(1)).slice();
    case KIND.array:
      return list(from.count(1), () => read(from, depth + 1));
    case KIND.object:
      // Which makes a property of any name, `__proto__` too.
      return Object.fromEntries(list(from.count(5), () => [from.text(), read(from, depth + 1)]));
    case KIND.map:
      return new Map(list(from.count(2), () => [read(from, depth + 1), read(from, depth + 1)]));
    case KIND.set:
      return new Set(list(from.count(1), () => read(from, depth + 1)));
    default:
      throw new RangeError(`there is no kind of value ${kind}`);
  }
}

function list<T>(count: number, make: () => T): T[] {
  const values: T[] = [];
  for (let i = 0; i < count; i++) values.push(make());
  return values;
}

/** Digits take a time that grows with their square. */
const DIGITS_MOST = 1000;

function integer(text: string): bigint {
  if (text.length > DIGITS_MOST || !/^-?\d+$/.test(text)) throw new RangeError('a bigint that is none');
  return BigInt(text);
}

/** Bytes from the first on; what is not there is a `RangeError`. */
class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  byte(): number {
    return this.take(1)[0]!;
  }

  /** @param size - bytes that each of so many takes at least. */
  count(size: number): number {
    const at = this.#at;
    this.take(4);
    const count = this.#view.getUint32(at, true);
    if (count * size > this.left) throw new RangeError(`${count} values in ${this.left} bytes`);
    return count;
  }

  number(): number {
    const at = this.#at;
    this.take(8);
    return this.#view.getFloat64(at, true);
  }

  text(): string {
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(this.take(this.count(1)));
    } catch (error) {
      if (error instanceof RangeError) throw error;
      throw new RangeError('a text that is no UTF-8');
    }
  }

  take(length: number): Uint8Array {
    if (length > this.left) throw new RangeError(`it ends ${length - this.left} bytes too early`);
    const from = this.#at;
    this.#at += length;
    return this.#bytes.subarray(from, this.#at);
  }
}
