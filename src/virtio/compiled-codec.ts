import { checkFits } from './array.js';
import { codecSource } from './codec-source.js';
import { copyOf } from './copy-of.js';
import type { Field } from './field.js';
import { LastText } from './last-text.js';
import { readLatin1, writeLatin1 } from './latin1.js';
import type { PlacedField, StructCodec } from './struct-codec.js';
import { fieldProblem } from './value-problem.js';

/** Whether this process may make code of text: a page's policy and a flag of Node's forbid it. */
export const canCompile: boolean = (() => {
  try {
    return (new Function('return 1') as () => number)() === 1;
  } catch {
    return false;
  }
})();

/** What the source text of codecs calls, by the names that it uses. */
const helpers = {
  readLatin1,
  writeLatin1,
  readBytes,
  writeBytes,
  readBig,
  writeBig,
  writeNumber,
  callRead,
  callWrite,
  readOpen,
  writeOpen,
  readArray,
  writeArray,
  fieldProblem,
  LastText,
};

/** @throws EvalError where no code may be made of text. */
export function compiledCodec(size: number, placed: readonly PlacedField[]): StructCodec {
  const { before, read, write } = codecSource(size, placed, { fields: 'fields', bytes: 'b' });
  const source = `${before}
return {
  decode(b) { return ${read}; },
  encode(values, b) { let v; ${write} },
};`;
  return compile(['fields'], source)(placed.map(({ field }) => field)) as StructCodec;
}

/** By source text: the same code runs warm for each of those that have it. */
const compiled = new Map<string, (...args: unknown[]) => unknown>();

/**
 * A function of source text, in which all that codecs call is at hand. Nothing is in that text but code of this package, numbers, and
 * strings as JSON has them.
 *
 * @throws EvalError where no code may be made of text.
 */
export function compile(parameters: readonly string[], source: string): (...args: unknown[]) => unknown {
  const text = `'use strict'; const { ${Object.keys(helpers).join(', ')} } = help;\n${source}`;
  let made = compiled.get(text);
  if (made === undefined) {
    made = new Function('help', ...parameters, text) as (...args: unknown[]) => unknown;
    compiled.set(text, made);
  }
  return made.bind(undefined, helpers);
}

/** A number of 64 bits: the low half exact, as far as the number is. */
function writeNumber(into: Uint8Array, at: number, value: number, little: boolean): void {
  let low = (value % 0x1_0000_0000) | 0;
  let high = Math.floor(value / 0x1_0000_0000) | 0;
  for (let i = 0; i < 4; i++) {
    into[at + (little ? i : 7 - i)] = low;
    into[at + (little ? 4 + i : 3 - i)] = high;
    low >>>= 8;
    high >>>= 8;
  }
}

/** No two are in it at a time: nothing of a device's own runs meanwhile. */
const wide = new DataView(new ArrayBuffer(8));
const wideBytes = new Uint8Array(wide.buffer);

function readBig(from: Uint8Array, at: number, little: boolean): bigint {
  for (let i = 0; i < 8; i++) wideBytes[i] = from[at + i]!;
  return wide.getBigUint64(0, little);
}

function writeBig(into: Uint8Array, at: number, _: number, value: bigint, little: boolean): void {
  wide.setBigUint64(0, value, little);
  into.set(wideBytes, at);
}

/** One of variable length: from here to the end. */
function readOpen(field: Field<unknown>, from: Uint8Array, at: number): unknown {
  return field.read(new DataView(copyOf(from.subarray(at)).buffer), 0);
}

function writeOpen(field: Field<unknown>, into: Uint8Array, at: number, value: unknown): void {
  field.write(new DataView(into.buffer, into.byteOffset, into.length), at, value);
}

/** @param one - reads one element. */
function readArray(
  from: Uint8Array,
  at: number,
  count: number,
  size: number,
  one: (from: Uint8Array, at: number, field: unknown) => unknown,
  field: unknown,
): unknown[] {
  const values: unknown[] = [];
  for (let i = 0; i < count; i++) values.push(one(from, at + i * size, field));
  return values;
}

/** @param one - writes one element. */
function writeArray(
  into: Uint8Array,
  at: number,
  count: number,
  size: number,
  one: (into: Uint8Array, at: number, field: unknown, value: unknown) => void,
  field: unknown,
  values: readonly unknown[],
): void {
  checkFits(values.length, count);
  into.fill(0, at + values.length * size, at + count * size);
  for (let i = 0; i < values.length; i++) one(into, at + i * size, field, values[i]);
}

function readBytes(from: Uint8Array, at: number, size: number): Uint8Array {
  return copyOf(from.subarray(at, at + size));
}

function writeBytes(into: Uint8Array, from: number, to: number, value: Uint8Array): void {
  const { length } = value;
  if (length > to - from) throw new RangeError(`${length} bytes do not fit into ${to - from}`);
  if (length !== to - from) into.fill(0, from, to);
  into.set(value, from);
}

/** A field that somebody else made may keep the view: it gets one of its own. */
function callRead(field: Field<unknown>, from: Uint8Array, at: number, size: number): unknown {
  return field.read(new DataView(copyOf(from.subarray(0, size)).buffer), at);
}

/** @param length - bytes of the field; it finds zeros there. */
function callWrite(
  field: Field<unknown>,
  into: Uint8Array,
  at: number,
  size: number,
  length: number,
  value: unknown,
): void {
  into.fill(0, at, at + length);
  if (value !== undefined) field.write(new DataView(into.buffer, into.byteOffset, size), at, value);
}
