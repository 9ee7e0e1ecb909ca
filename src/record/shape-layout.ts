import type { Layout } from '../virtio/layout.js';
import { NUMBER_SIZES, type Shape, shapeText, type WireNumber } from './shape.js';

/** Reads bytes by a shape; what is read can't be written. */
export class ShapeLayout implements Layout<unknown> {
  readonly shape: Shape;
  readonly size: number;
  readonly most: number;

  constructor(shape: Shape) {
    this.shape = shape;
    this.size = least(shape);
    this.most = isFixed(shape) ? this.size : Number.MAX_SAFE_INTEGER;
  }

  get outline(): string {
    return shapeText(this.shape);
  }

  /** @throws RangeError when there are too few bytes. */
  decode(from: Uint8Array): Record<string, unknown> {
    const reader = new Reader(from, this.shape);
    const value = reader.value(this.shape, from.length);
    return typeof value === 'object' && !Array.isArray(value) && !(value instanceof Uint8Array)
      ? (value as Record<string, unknown>)
      : { bytes: value };
  }

  encode(): never {
    throw new TypeError('the shape of a recording is only read');
  }

  sizeOf(): never {
    throw new TypeError('the shape of a recording is only read');
  }

  problem(): undefined {}
}

/** Bytes of the smallest value. */
export function least(shape: Shape): number {
  switch (shape.kind) {
    case 'number':
      return NUMBER_SIZES[shape.type];
    case 'bytes':
    case 'text':
      return shape.size;
    case 'array':
      return shape.count * least(shape.element);
    case 'tail':
      return 0;
    case 'struct':
      return shape.fields.reduce((sum, [, field]) => sum + least(field), 0);
    case 'union':
      return NUMBER_SIZES[shape.tag];
  }
}

function isFixed(shape: Shape): boolean {
  if (shape.kind === 'struct') return shape.fields.every(([, field]) => isFixed(field));
  return shape.kind !== 'tail' && shape.kind !== 'union';
}

/** Elements that are read of an array, whatever a recording claims. */
const ELEMENTS = 65_536;

class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array, shape: Shape) {
    if (bytes.length < least(shape)) throw new RangeError(`${bytes.length} bytes are too few`);
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  /** @param end - where it ends at the latest. */
  value(shape: Shape, end: number): unknown {
    switch (shape.kind) {
      case 'number':
        return numberAt(this.#view, this.#take(NUMBER_SIZES[shape.type], end), shape.type);
      case 'bytes':
        return this.#slice(shape.size, end);
      case 'text':
        return textOf(this.#slice(shape.size, end));
      case 'array':
        return this.#elements(shape.element, shape.count, end);
      case 'tail':
        return this.#tail(shape.element, end);
      case 'struct':
        return this.#struct(shape.fields, end);
      case 'union': {
        const tag = Number(numberAt(this.#view, this.#take(NUMBER_SIZES[shape.tag], end), shape.tag));
        const arm = shape.arms.find(([, number]) => number === tag);
        if (arm === undefined) return { [shape.key]: 'unknown', tag };
        return { [shape.key]: arm[0], ...(this.value(arm[2], end) as object) };
      }
    }
  }

  #struct(fields: readonly (readonly [string, Shape])[], end: number): Record<string, unknown> {
    const values: Record<string, unknown> = {};
    fields.forEach(([name, shape], index) => {
      // What has a place behind a tail keeps it.
      const behind = fields.slice(index + 1).reduce((sum, [, field]) => sum + least(field), 0);
      Object.defineProperty(values, name, {
        value: this.value(shape, end - behind),
        enumerable: true,
        configurable: true,
        writable: true,
      });
    });
    return values;
  }

  #elements(element: Shape, count: number, end: number): unknown[] {
    const values: unknown[] = [];
    for (let i = 0; i < Math.min(count, ELEMENTS); i++) values.push(this.value(element, end));
    return values;
  }

  #tail(element: Shape | undefined, end: number): unknown {
    const left = Math.max(0, end - this.#at);
    if (element === undefined) return this.#slice(left, end);
    const size = least(element);
    const values = size === 0 ? [] : this.#elements(element, Math.floor(left / size), end);
    this.#at = Math.max(this.#at, end);
    return values;
  }

  #slice(size: number, end: number): Uint8Array {
    const at = this.#take(size, end);
    return this.#bytes.slice(at, at + size);
  }

  #take(size: number, end: number): number {
    const at = this.#at;
    if (at + size > end) throw new RangeError(`${end} bytes are too few`);
    this.#at += size;
    return at;
  }
}

/** Reads a number. One of 64 bits that no number can be is a bigint. */
export function numberAt(view: DataView, at: number, type: WireNumber): number | bigint {
  switch (type) {
    case 'u8':
      return view.getUint8(at);
    case 's8':
      return view.getInt8(at);
    case 'le16':
      return view.getUint16(at, true);
    case 'sle16':
      return view.getInt16(at, true);
    case 'be16':
      return view.getUint16(at);
    case 'le32':
      return view.getUint32(at, true);
    case 'sle32':
      return view.getInt32(at, true);
    case 'be32':
      return view.getUint32(at);
    default: {
      const value = view.getBigUint64(at, type.startsWith('le'));
      return value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
    }
  }
}

/** Of one byte a character, up to the first NUL. */
export function textOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  let text = '';
  for (const byte of end < 0 ? bytes : bytes.subarray(0, end)) text += String.fromCharCode(byte);
  return text;
}
