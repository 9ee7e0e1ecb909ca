import type { ArrayField } from './array.js';
import { described } from './described.js';
import type { Field } from './field.js';
import { kindOf } from './field-kind.js';
import type { Layout } from './layout.js';
import { didYouMean } from './nearest.js';
import type { PlacedField } from './struct-codec.js';
import type { TailField } from './tail.js';

/** A struct, as far as its values are looked at. */
interface Shape {
  readonly placed: readonly PlacedField[];
  readonly outline: string;
}

/**
 * Why values can't be sent as a struct, if they can't: what is unknown, missing, or of another type. A number may be outside of its
 * field, which wraps.
 *
 * @param path - where in the whole they are: ends in a dot, or is empty.
 */
export function structProblem(shape: Shape, values: unknown, path = ''): string | undefined {
  if (isPlain(shape.placed, values)) return undefined;
  const { placed, outline } = shape;
  if (typeof values !== 'object' || values === null) {
    const what = path === '' ? 'it' : path.slice(0, -1);
    return `${what} is ${described(values)}, and not ${outline}`;
  }
  const names = placed.map(({ name }) => name);
  for (const name in values) {
    if (!names.includes(name)) return `'${path}${name}' is no field of ${outline}${didYouMean(name, names)}`;
  }
  for (const { name, field } of placed) {
    const problem = fieldProblem(field, (values as Record<string, unknown>)[name], `${path}${name}`);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

/** Whether it is clear at a glance that there is no problem, as it is for most: this makes nothing, and is done for each request. */
function isPlain(placed: readonly PlacedField[], values: unknown): boolean {
  if (typeof values !== 'object' || values === null) return false;
  let names = 0;
  for (const _ in values) names += 1;
  if (names !== placed.length) return false;
  for (let i = 0; i < placed.length; i++) {
    const { name, field } = placed[i]!;
    const value = (values as Record<string, unknown>)[name];
    switch (kindOf(field)) {
      case 'u8':
      case 's8':
      case 'le16':
      case 'sle16':
      case 'be16':
      case 'le32':
      case 'sle32':
      case 'be32':
      case 'le64':
      case 'be64':
        if (typeof value !== 'number' || !Number.isFinite(value)) return false;
        break;
      case 'text':
        if (typeof value !== 'string' || value.length > field.size) return false;
        break;
      case 'bytes':
        if (!(value instanceof Uint8Array) || value.length > field.size) return false;
        break;
      default:
        return false;
    }
  }
  return true;
}

/** The same for the value of one field. */
export function fieldProblem(field: Field<unknown>, value: unknown, path: string): string | undefined {
  const kind = kindOf(field);
  if (value === undefined) return `field ${path} is missing`;
  const wanted = (what: string): string => `field ${path} is ${described(value)}, and not ${what}`;
  switch (kind) {
    case undefined:
      return undefined;
    case 'le64big':
    case 'be64big':
      return typeof value === 'bigint' ? undefined : wanted('a bigint');
    case 'text':
      if (typeof value !== 'string') return wanted('a text');
      return tooLong(value.length, field.size, path);
    case 'bytes':
      if (!(value instanceof Uint8Array)) return wanted('a Uint8Array');
      return tooLong(value.length, field.size, path);
    case 'struct':
      return structProblem(field as unknown as Shape, value, `${path}.`);
    case 'array':
      return elementsProblem(field as ArrayField<unknown>, (field as ArrayField<unknown>).count, value, path);
    case 'open':
      return openProblem(field, value, path);
    default:
      return typeof value === 'number' && Number.isFinite(value) ? undefined : wanted('a number');
  }
}

function openProblem(field: Field<unknown>, value: unknown, path: string): string | undefined {
  if ('problem' in field) {
    const problem = (field as unknown as Layout<unknown>).problem(value);
    return problem === undefined ? undefined : `field ${path}: ${problem}`;
  }
  const { element } = field as TailField<unknown>;
  if (element !== undefined) return elementsProblem({ element }, field.most! / element.size, value, path);
  if (!(value instanceof Uint8Array)) return `field ${path} is ${described(value)}, and not a Uint8Array`;
  return tooLong(value.length, field.most!, path);
}

function elementsProblem(
  { element }: { readonly element: Field<unknown> },
  count: number,
  value: unknown,
  path: string,
): string | undefined {
  if (!Array.isArray(value)) return `field ${path} is ${described(value)}, and not an array`;
  if (value.length > count) return `field ${path} has ${value.length} elements, and room for ${count}`;
  for (let i = 0; i < value.length; i++) {
    const problem = fieldProblem(element, value[i], `${path}[${i}]`);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function tooLong(length: number, size: number, path: string): string | undefined {
  return length > size ? `field ${path} has ${length} bytes, and room for ${size}` : undefined;
}
