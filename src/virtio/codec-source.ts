import { type FieldKind, kindOf } from './field-kind.js';
import type { PlacedField } from './struct-codec.js';

/** A struct's two directions as source text for `compile`. Numbers go byte by byte from and to the array itself. */
export interface CodecSource {
  /** Statements that make what `read` remembers. */
  readonly before: string;
  /** An expression: the values in the array. */
  readonly read: string;
  /** Statements that put `values` into the array; they use `v`, declared by whoever has them. */
  readonly write: string;
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

export function codecSource(size: number, placed: readonly PlacedField[], names: CodecNames): CodecSource {
  const before: string[] = [];
  const reads: string[] = [];
  const writes: string[] = [];
  placed.forEach(({ name, field, offset }, i) => {
    const kind = kindOf(field);
    const own = `${names.fields}[${i}], ${names.bytes}, ${offset}, ${size}`;
    const words = offset % 4 === 0 ? names.words : undefined;
    let read: string;
    if (kind === undefined) read = `callRead(${own})`;
    else if (kind === 'text' && words && field.size % 4 === 0 && field.size <= REMEMBERED_MOST) {
      before.push(`const last${i} = new LastText(${field.size});`);
      read = `last${i}.read(${words}, ${offset / 4})`;
    } else read = READ[kind](names.bytes, offset, field.size, words);
    reads.push(`${keyOf(name)}: ${read}`);
    writes.push(`v = values[${JSON.stringify(name)}];`);
    if (kind === undefined) writes.push(`callWrite(${own}, ${field.size}, v);`);
    else writes.push(WRITE[kind](names.bytes, offset, field.size, words));
  });
  return { before: before.join('\n'), read: `{ ${reads.join(',\n')} }`, write: writes.join('\n') };
}

/** A field's name in an object literal: quoted it is a plain property, but for the one name that would set the prototype. */
function keyOf(name: string): string {
  const quoted = JSON.stringify(name);
  return name === '__proto__' ? `[${quoted}]` : quoted;
}

type Text = (bytes: string, at: number, size: number, words: string | undefined) => string;

const word = (b: string, at: number, words: string | undefined): string =>
  words === undefined
    ? `${b}[${at}] | ${b}[${at + 1}] << 8 | ${b}[${at + 2}] << 16 | ${b}[${at + 3}] << 24`
    : `${words}[${at / 4}]`;

const READ: Readonly<Record<FieldKind, Text>> = {
  u8: (b, at) => `${b}[${at}]`,
  le16: (b, at) => `${b}[${at}] | ${b}[${at + 1}] << 8`,
  le32: (b, at, _, words) => `(${word(b, at, words)}) >>> 0`,
  sle32: (b, at, _, words) => word(b, at, words),
  le64: (b, at, _, words) =>
    `((${word(b, at + 4, words)}) >>> 0) * 0x100000000 + ((${word(b, at, words)}) >>> 0)`,
  le64big: (b, at) => `readBig(${b}, ${at})`,
  bytes: (b, at, size) => `readBytes(${b}, ${at}, ${size})`,
  text: (b, at, size) => `readLatin1(${b}, ${at}, ${at + size})`,
};

/** The number `v`, or zeros for `undefined`; values outside wrap. */
function number(size: number): Text {
  return (b, at, _, words) => {
    const value = 'v === undefined ? 0 : +v | 0';
    if (size === 4 && words !== undefined) return `${words}[${at / 4}] = ${value};`;
    let text = `v = ${value};`;
    for (let i = 0; i < size; i++) text += ` ${b}[${at + i}] = v${i === 0 ? '' : ` >>> ${8 * i}`};`;
    return text;
  };
}

function call(name: string): Text {
  return (b, at, size) => {
    const to = at + size;
    return `if (v === undefined) ${b}.fill(0, ${at}, ${to}); else ${name}(${b}, ${at}, ${to}, v);`;
  };
}

const WRITE: Readonly<Record<FieldKind, Text>> = {
  u8: number(1),
  le16: number(2),
  le32: number(4),
  sle32: number(4),
  le64: (b, at) => `writeNumber(${b}, ${at}, v === undefined ? 0 : v);`,
  le64big: call('writeBig'),
  bytes: call('writeBytes'),
  text: call('writeLatin1'),
};
