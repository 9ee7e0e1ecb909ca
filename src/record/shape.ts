import type { ArrayField } from '../virtio/array.js';
import type { Field } from '../virtio/field.js';
import { kindOf, type NumberKind } from '../virtio/field-kind.js';
import { Struct } from '../virtio/struct.js';
import type { TailField } from '../virtio/tail.js';
import { Union } from '../virtio/union.js';

/** What bytes consist of, as a recording carries it: enough to show them by name. */
export type Shape =
  | { readonly kind: 'number'; readonly type: WireNumber }
  | { readonly kind: 'bytes' | 'text'; readonly size: number }
  | { readonly kind: 'array'; readonly element: Shape; readonly count: number }
  /** To the end, or to the fields behind it: as bytes, or as elements of one shape. */
  | { readonly kind: 'tail'; readonly element: Shape | undefined }
  | { readonly kind: 'struct'; readonly fields: readonly (readonly [name: string, shape: Shape])[] }
  | {
      readonly kind: 'union';
      readonly key: string;
      readonly tag: WireNumber;
      readonly arms: readonly (readonly [name: string, tag: number, shape: Shape])[];
    };

/** Numbers on the wire. Whole ones of 64 bits are shown exactly. */
export type WireNumber = NumberKind | 'le64big' | 'be64big';

/** Bytes of each. */
export const NUMBER_SIZES: Readonly<Record<WireNumber, number>> = {
  u8: 1,
  s8: 1,
  le16: 2,
  sle16: 2,
  be16: 2,
  le32: 4,
  sle32: 4,
  be32: 4,
  le64: 8,
  be64: 8,
  le64big: 8,
  be64big: 8,
};

/** The shape of what `struct`, `union` and the like return. A field that somebody else made is bytes, or (when it is open) a tail of them. */
export function shapeOf(layout: unknown): Shape {
  if (layout instanceof Union) {
    const { key, tag, arms } = layout.parts;
    return {
      kind: 'union',
      key,
      tag: (kindOf(tag as Field<unknown>) ?? 'u8') as WireNumber,
      arms: Object.entries(arms).map(([name, [number, struct]]) => [name, number, shapeOf(struct)]),
    };
  }
  if (layout instanceof Struct)
    return { kind: 'struct', fields: layout.placed.map(({ name, field }) => [name, shapeOf(field)]) };
  const field = layout as Field<unknown>;
  const kind = kindOf(field);
  if (kind !== undefined && kind in NUMBER_SIZES) return { kind: 'number', type: kind as WireNumber };
  if (kind === 'text') return { kind: 'text', size: field.size };
  if (kind === 'array') {
    const { element, count } = field as ArrayField<unknown>;
    return { kind: 'array', element: shapeOf(element), count };
  }
  if (kind === 'open') {
    const { element } = field as Partial<TailField<unknown>>;
    return { kind: 'tail', element: element === undefined ? undefined : shapeOf(element) };
  }
  return { kind: 'bytes', size: field.size };
}

/** A shape as text: `{type:le32,name:text(16)}`. */
export function shapeText(shape: Shape): string {
  switch (shape.kind) {
    case 'number':
      return shape.type;
    case 'bytes':
    case 'text':
      return `${shape.kind}(${shape.size})`;
    case 'array':
      return `array(${shapeText(shape.element)},${shape.count})`;
    case 'tail':
      return shape.element === undefined ? 'tail()' : `tail(${shapeText(shape.element)})`;
    case 'struct':
      return `{${shape.fields.map(([name, field]) => `${wordOf(name)}:${shapeText(field)}`).join(',')}}`;
    case 'union': {
      const arms = shape.arms.map(([name, tag, arm]) => `${wordOf(name)}=${tag}:${shapeText(arm)}`);
      return `union(${[`${wordOf(shape.key)}:${shape.tag}`, ...arms].join(',')})`;
    }
  }
}

/** A name of a letter's and digits' kind only. */
function wordOf(name: string): string {
  return name.replace(/[^A-Za-z0-9_]/g, '_') || '_';
}

/** Structs in structs. */
const DEPTH = 16;
/** Characters of a shape. */
const LONGEST = 65_536;

/** Reads `shapeText`. @returns `undefined` for what is none. */
export function parseShape(text: string): Shape | undefined {
  if (text.length > LONGEST) return undefined;
  const words = text.match(/[A-Za-z0-9_]+|[^A-Za-z0-9_]/g) ?? [];
  const parser = new Parser(words);
  try {
    const shape = parser.shape(0);
    return parser.ended ? shape : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

class Parser {
  readonly #words: readonly string[];
  #at = 0;

  constructor(words: readonly string[]) {
    this.#words = words;
  }

  get ended(): boolean {
    return this.#at === this.#words.length;
  }

  shape(depth: number): Shape {
    if (depth > DEPTH) throw new SyntaxError('too deep');
    const word = this.#next();
    if (word === '{') {
      const fields: [string, Shape][] = [];
      while (!this.#is('}')) {
        if (fields.length > 0) this.#take(',');
        const name = this.#name();
        this.#take(':');
        fields.push([name, this.shape(depth + 1)]);
      }
      this.#take('}');
      return { kind: 'struct', fields };
    }
    if (Object.hasOwn(NUMBER_SIZES, word)) return { kind: 'number', type: word as WireNumber };
    this.#take('(');
    const shape = this.#called(word, depth + 1);
    this.#take(')');
    return shape;
  }

  #called(word: string, depth: number): Shape {
    switch (word) {
      case 'bytes':
      case 'text':
        return { kind: word, size: this.#number() };
      case 'array': {
        const element = this.shape(depth);
        this.#take(',');
        return { kind: 'array', element, count: this.#number() };
      }
      case 'tail':
        return { kind: 'tail', element: this.#is(')') ? undefined : this.shape(depth) };
      case 'union':
        return this.#union(depth);
      default:
        throw new SyntaxError(word);
    }
  }

  #union(depth: number): Shape {
    const key = this.#name();
    this.#take(':');
    const tag = this.#next();
    if (!Object.hasOwn(NUMBER_SIZES, tag)) throw new SyntaxError(tag);
    const arms: [string, number, Shape][] = [];
    while (this.#is(',')) {
      this.#take(',');
      const name = this.#name();
      this.#take('=');
      const number = this.#number();
      this.#take(':');
      arms.push([name, number, this.shape(depth)]);
    }
    return { kind: 'union', key, tag: tag as WireNumber, arms };
  }

  #next(): string {
    const word = this.#words[this.#at];
    if (word === undefined) throw new SyntaxError('it ends');
    this.#at += 1;
    return word;
  }

  #is(word: string): boolean {
    return this.#words[this.#at] === word;
  }

  #take(word: string): void {
    if (this.#next() !== word) throw new SyntaxError(word);
  }

  #name(): string {
    const word = this.#next();
    if (!/^\w+$/.test(word)) throw new SyntaxError(word);
    return word;
  }

  #number(): number {
    const word = this.#next();
    if (!/^\d{1,10}$/.test(word)) throw new SyntaxError(word);
    return Number(word);
  }
}
