import type { ArrayField } from './array.js';
import type { Field } from './field.js';
import { type FieldKind, kindOf, type NumberKind } from './field-kind.js';
import type { PlacedField } from './struct-codec.js';

/** A struct's two directions as source text for `compile`. Numbers go byte by byte from and to the array itself. */
export interface CodecSource {
  /** Statements that make what the others remember and call. */
  readonly before: string;
  /** An expression: the values in the array. */
  readonly read: string;
  /** Statements that put `values` into the array; they use `v`, declared by whoever has them. */
  readonly write: string;
  /** Statements that call `wrong(values)` when something in `values` is missing or of another type; they use `v`. What is unknown they pass. */
  readonly check: string;
}

/** What the source text calls things. */
export interface CodecNames {
  /** The struct's fields. */
  readonly fields: string;
  /** The array of bytes. */
  readonly bytes: string;
  /** The same as 32-bit words, where there are: a number that is aligned is one of them then, and a text is not made again while it stays the same. */
  readonly words?: string;
}

/** Bytes of a text that looking whether it is the same as the last one costs less than making it. */
const REMEMBERED_MOST = 64;

/** Where in the array: a number, or an expression. */
type At = number | string;

export function codecSource(size: number, placed: readonly PlacedField[], names: CodecNames): CodecSource {
  const writer = new SourceWriter(size);
  const fieldOf = (index: number): string => `${names.fields}[${index}]`;
  const read = writer.read(placed, fieldOf, names.bytes, 0, names.words);
  const write = writer.write(placed, fieldOf, names.bytes, 0, 'values', names.words);
  const check = `check: { ${writer.check(placed, fieldOf, 'values')} }`;
  return { before: writer.before.join('\n'), read, write, check };
}

/** Whether it has the fields of a struct. */
function placedOf(field: Field<unknown>): readonly PlacedField[] {
  return (field as unknown as { readonly placed: readonly PlacedField[] }).placed;
}

class SourceWriter {
  readonly before: string[] = [];
  /** Bytes of the whole. */
  readonly #size: number;
  #made = 0;

  constructor(size: number) {
    this.#size = size;
  }

  /** @param fieldOf - an expression: the field of an index. */
  read(
    placed: readonly PlacedField[],
    fieldOf: (index: number) => string,
    bytes: string,
    base: At,
    words: string | undefined,
  ): string {
    const reads = placed.map(({ name, field, offset }, i) => {
      const at = plus(base, offset);
      return `${keyOf(name)}: ${this.#readField(field, fieldOf(i), bytes, at, words)}`;
    });
    return `{ ${reads.join(',\n')} }`;
  }

  /** @param values - an expression: where the values are. */
  write(
    placed: readonly PlacedField[],
    fieldOf: (index: number) => string,
    bytes: string,
    base: At,
    values: string,
    words: string | undefined,
  ): string {
    const writes = placed.map(({ name, field, offset }, i) => {
      const at = plus(base, offset);
      return `v = ${values}[${JSON.stringify(name)}]; ${this.#writeField(field, fieldOf(i), bytes, at, words)}`;
    });
    return writes.join('\n');
  }

  check(placed: readonly PlacedField[], fieldOf: (index: number) => string, values: string): string {
    const wrong = '{ wrong(values); break check; }';
    const checks: string[] = [];
    placed.forEach(({ name, field }, i) => {
      const value = `${values}[${JSON.stringify(name)}]`;
      const kind = kindOf(field);
      if (kind === 'struct') {
        const inner = this.#name('inner');
        const nested = this.check(placedOf(field), (j) => `${fieldOf(i)}.placed[${j}].field`, inner);
        checks.push(
          `const ${inner} = ${value}; if (typeof ${inner} !== 'object' || ${inner} === null) ${wrong}`,
          nested,
        );
      } else checks.push(`v = ${value}; if (${isWrong(kind, field, fieldOf(i))}) ${wrong}`);
    });
    return checks.join('\n');
  }

  #readField(field: Field<unknown>, own: string, bytes: string, at: At, words: string | undefined): string {
    const kind = kindOf(field);
    const aligned = typeof at === 'number' && at % 4 === 0 ? words : undefined;
    switch (kind) {
      case undefined:
        return `callRead(${own}, ${bytes}, ${at}, ${this.#size})`;
      case 'open':
        return `readOpen(${own}, ${bytes}, ${at})`;
      case 'struct':
        return this.read(placedOf(field), (i) => `${own}.placed[${i}].field`, bytes, at, words);
      case 'array': {
        const { element, count } = field as ArrayField<unknown>;
        const one = this.#name('one');
        const read = this.#readField(element, 'field.element', 'b', 'o', undefined);
        this.before.push(`const ${one} = (b, o, field) => (${read});`);
        return `readArray(${bytes}, ${at}, ${count}, ${element.size}, ${one}, ${own})`;
      }
      case 'text':
        if (aligned !== undefined && field.size % 4 === 0 && field.size <= REMEMBERED_MOST) {
          const last = this.#name('last');
          this.before.push(`const ${last} = new LastText(${field.size});`);
          return `${last}.read(${aligned}, ${(at as number) / 4})`;
        }
        return `readLatin1(${bytes}, ${at}, ${plus(at, field.size)})`;
      default:
        return READ[kind](bytes, at, field.size, aligned);
    }
  }

  #writeField(field: Field<unknown>, own: string, bytes: string, at: At, words: string | undefined): string {
    const kind = kindOf(field);
    const aligned = typeof at === 'number' && at % 4 === 0 ? words : undefined;
    const zeros = `if (v === undefined) ${bytes}.fill(0, ${at}, ${plus(at, field.size)});`;
    switch (kind) {
      case undefined:
        return `callWrite(${own}, ${bytes}, ${at}, ${this.#size}, ${field.size}, v);`;
      case 'open':
        return `${zeros} else writeOpen(${own}, ${bytes}, ${at}, v);`;
      case 'struct': {
        const inner = this.#name('inner');
        const fields = (i: number): string => `${own}.placed[${i}].field`;
        return `${zeros} else { const ${inner} = v; ${this.write(placedOf(field), fields, bytes, at, inner, words)} }`;
      }
      case 'array': {
        const { element, count } = field as ArrayField<unknown>;
        const one = this.#name('one');
        const write = this.#writeField(element, 'field.element', 'b', 'o', undefined);
        this.before.push(`const ${one} = (b, o, field, v) => { ${write} };`);
        return `${zeros} else writeArray(${bytes}, ${at}, ${count}, ${element.size}, ${one}, ${own}, v);`;
      }
      default:
        return WRITE[kind](bytes, at, field.size, aligned);
    }
  }

  #name(what: string): string {
    this.#made += 1;
    return `${what}${this.#made}`;
  }
}

/** An expression: whether the value `v` is missing or of another type. */
function isWrong(kind: FieldKind | undefined, field: Field<unknown>, own: string): string {
  switch (kind) {
    case undefined:
      return 'v === undefined';
    case 'text':
      return `typeof v !== 'string' || v.length > ${field.size}`;
    case 'bytes':
      return `!(v instanceof Uint8Array) || v.length > ${field.size}`;
    case 'le64big':
    case 'be64big':
      return "typeof v !== 'bigint'";
    case 'array':
    case 'open':
      return `fieldProblem(${own}, v, '') !== undefined`;
    default:
      // Not a number, or not finite.
      return "typeof v !== 'number' || v - v !== 0";
  }
}

/** A field's name in an object literal: quoted it is a plain property, but for the one name that would set the prototype. */
function keyOf(name: string): string {
  const quoted = JSON.stringify(name);
  return name === '__proto__' ? `[${quoted}]` : quoted;
}

function plus(at: At, more: number): At {
  if (typeof at === 'number') return at + more;
  return more === 0 ? at : `${at} + ${more}`;
}

type Text = (bytes: string, at: At, size: number, words: string | undefined) => string;

/** The bytes from the lowest on, as an expression: of 32 bits, signed. */
function joined(b: string, ats: readonly At[]): string {
  return ats.map((at, i) => `${b}[${at}]${i === 0 ? '' : ` << ${8 * i}`}`).join(' | ');
}

const up = (at: At, count: number): At[] => Array.from({ length: count }, (_, i) => plus(at, i));
const down = (at: At, count: number): At[] => up(at, count).reverse();

const word = (b: string, at: At, words: string | undefined): string =>
  words === undefined ? joined(b, up(at, 4)) : `${words}[${(at as number) / 4}]`;

const READ: Readonly<Record<NumberKind | 'le64big' | 'be64big' | 'bytes', Text>> = {
  u8: (b, at) => `${b}[${at}]`,
  s8: (b, at) => `${b}[${at}] << 24 >> 24`,
  le16: (b, at) => joined(b, up(at, 2)),
  sle16: (b, at) => `(${joined(b, up(at, 2))}) << 16 >> 16`,
  be16: (b, at) => joined(b, down(at, 2)),
  le32: (b, at, _, words) => `(${word(b, at, words)}) >>> 0`,
  sle32: (b, at, _, words) => word(b, at, words),
  be32: (b, at) => `(${joined(b, down(at, 4))}) >>> 0`,
  // Both halves are words when the first one is.
  le64: (b, at, _, words) =>
    `((${word(b, plus(at, 4), words)}) >>> 0) * 0x100000000 + ((${word(b, at, words)}) >>> 0)`,
  be64: (b, at) =>
    `((${joined(b, down(at, 4))}) >>> 0) * 0x100000000 + ((${joined(b, down(plus(at, 4), 4))}) >>> 0)`,
  le64big: (b, at) => `readBig(${b}, ${at}, true)`,
  be64big: (b, at) => `readBig(${b}, ${at}, false)`,
  bytes: (b, at, size) => `readBytes(${b}, ${at}, ${size})`,
};

/** The number `v`, or zeros for `undefined`, from its lowest byte on; values outside wrap. */
function number(size: number, order: (at: At, count: number) => At[]): Text {
  return (b, at, _, words) => {
    const value = 'v === undefined ? 0 : +v | 0';
    if (size === 4 && words !== undefined) return `${words}[${(at as number) / 4}] = ${value};`;
    let text = `v = ${value};`;
    for (const [i, each] of order(at, size).entries())
      text += ` ${b}[${each}] = v${i === 0 ? '' : ` >>> ${8 * i}`};`;
    return text;
  };
}

function call(name: string, ...more: string[]): Text {
  return (b, at, size) => {
    const to = plus(at, size);
    return `if (v === undefined) ${b}.fill(0, ${at}, ${to}); else ${[`${name}(${b}`, at, to, 'v', ...more].join(', ')});`;
  };
}

const WRITE: Readonly<Record<Exclude<FieldKind, 'struct' | 'array' | 'open'>, Text>> = {
  u8: number(1, up),
  s8: number(1, up),
  le16: number(2, up),
  sle16: number(2, up),
  be16: number(2, down),
  le32: number(4, up),
  sle32: number(4, up),
  be32: (b, at, size) => number(4, down)(b, at, size, undefined),
  le64: (b, at) => `writeNumber(${b}, ${at}, v === undefined ? 0 : v, true);`,
  be64: (b, at) => `writeNumber(${b}, ${at}, v === undefined ? 0 : v, false);`,
  le64big: call('writeBig', 'true'),
  be64big: call('writeBig', 'false'),
  bytes: call('writeBytes'),
  text: call('writeLatin1'),
};
