import { NUMBER_SIZES, type Shape, type WireNumber } from '../record/shape.js';
import { least, numberAt, textOf } from '../record/shape-layout.js';

/** A field of bytes, and where it lies in them. */
export interface ReadField {
  readonly name: string;
  readonly offset: number;
  /** Bytes. */
  readonly size: number;
  readonly type: string;
  /** Of one that is a value. */
  readonly value?: number | bigint | string | Uint8Array;
  /** What a tag stands for. */
  readonly arm?: string;
  /** Of one that consists of others. */
  readonly fields?: readonly ReadField[];
}

/** Fields that are read of one array, and of all bytes together. */
const ELEMENTS = 256;
const FIELDS = 2048;

/**
 * Reads bytes by their shape, as far as they are there.
 *
 * @param total - how many there are, of which `bytes` are the first.
 */
export function readFields(shape: Shape, bytes: Uint8Array, total: number = bytes.length): ReadField[] {
  const reader = new FieldReader(bytes);
  const read = reader.read('', shape, total);
  if (read === undefined) return [];
  return read.fields === undefined ? [{ ...read, name: 'value' }] : [...read.fields];
}

class FieldReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;
  #left = FIELDS;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  /** @returns `undefined` when the bytes end before it does. */
  read(name: string, shape: Shape, end: number): ReadField | undefined {
    const offset = this.#at;
    this.#left -= 1;
    if (this.#left < 0) return undefined;
    switch (shape.kind) {
      case 'number':
        return this.#number(name, shape.type, end);
      case 'bytes':
      case 'text': {
        if (offset + shape.size > Math.min(end, this.#bytes.length)) return undefined;
        const bytes = this.#slice(shape.size);
        const value = shape.kind === 'text' ? textOf(bytes) : bytes;
        return { name, offset, size: shape.size, type: `${shape.kind}(${shape.size})`, value };
      }
      case 'array':
        return this.#elements(name, shape.element, shape.count, `array(${shape.count})`, end);
      case 'tail':
        return this.#tail(name, shape.element, end);
      case 'struct': {
        const fields = this.#struct(shape.fields, end);
        return { name, offset, size: this.#at - offset, type: 'struct', fields };
      }
      case 'union': {
        const tag = this.#number(shape.key, shape.tag, end);
        if (tag === undefined) return undefined;
        const arm = shape.arms.find(([, number]) => number === Number(tag.value));
        const named = arm === undefined ? tag : { ...tag, arm: arm[0] };
        const rest = arm === undefined ? [] : (this.read('', arm[2], end)?.fields ?? []);
        return { name, offset, size: this.#at - offset, type: 'union', fields: [named, ...rest] };
      }
    }
  }

  #number(name: string, type: WireNumber, end: number): ReadField | undefined {
    const offset = this.#at;
    const size = NUMBER_SIZES[type];
    if (offset + size > Math.min(end, this.#bytes.length)) return undefined;
    this.#at += size;
    return { name, offset, size, type: type.replace('big', ''), value: numberAt(this.#view, offset, type) };
  }

  #struct(fields: readonly (readonly [string, Shape])[], end: number): ReadField[] {
    const read: ReadField[] = [];
    for (const [index, [name, shape]] of fields.entries()) {
      // What has a place behind a tail keeps it.
      const behind = fields.slice(index + 1).reduce((sum, [, field]) => sum + least(field), 0);
      const field = this.read(name, shape, end - behind);
      if (field === undefined) break;
      read.push(field);
    }
    return read;
  }

  #elements(name: string, element: Shape, count: number, type: string, end: number): ReadField {
    const offset = this.#at;
    const fields: ReadField[] = [];
    for (let i = 0; i < Math.min(count, ELEMENTS); i++) {
      const field = this.read(`[${i}]`, element, end);
      if (field === undefined) break;
      fields.push(field);
    }
    return { name, offset, size: this.#at - offset, type, fields };
  }

  #tail(name: string, element: Shape | undefined, end: number): ReadField {
    const offset = this.#at;
    const size = Math.max(0, end - offset);
    if (element === undefined) {
      const value = this.#bytes.subarray(offset, Math.min(end, this.#bytes.length));
      this.#at = offset + size;
      return { name, offset, size, type: 'tail', value };
    }
    const each = least(element);
    const count = each === 0 ? 0 : Math.floor(size / each);
    const field = this.#elements(name, element, count, 'tail', end);
    this.#at = Math.max(this.#at, offset + size);
    return { ...field, size };
  }

  #slice(size: number): Uint8Array {
    const at = this.#at;
    this.#at += size;
    return this.#bytes.subarray(at, at + size);
  }
}
