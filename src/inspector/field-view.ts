import { printable } from '../lines/printable.js';
import { hex } from '../record/event-json.js';
import type { FieldView } from './protocol.js';
import type { ReadField } from './read-fields.js';

/** Characters of a value. */
const VALUE = 300;
/** Bytes that are shown of one. */
const BYTES = 64;

/** Fields as they are shown. */
export function fieldViews(fields: readonly ReadField[]): FieldView[] {
  return fields.map(({ name, offset, size, type, fields: inner, value, arm }) => ({
    name,
    offset,
    size,
    type,
    ...(value !== undefined && { value: valueText(value, arm) }),
    ...(inner !== undefined && { fields: fieldViews(inner) }),
  }));
}

/** What fields say, in so many characters: `SET_TIMER delay_ms 500 request_id 1`. */
export function fieldsText(fields: readonly ReadField[], most: number): string {
  const words: string[] = [];
  let length = 0;
  for (const field of fields) {
    const word = fieldText(field);
    words.push(word);
    length += word.length + 1;
    if (length > most) break;
  }
  return cut(words.join(' '), most);
}

function fieldText({ name, value, arm, fields }: ReadField): string {
  if (arm !== undefined) return arm;
  if (value === undefined) return `${name} {${fieldsText(fields ?? [], 60)}}`;
  return `${name} ${value instanceof Uint8Array && value.length > 16 ? `${value.length} B` : valueText(value, undefined)}`;
}

function valueText(value: number | bigint | string | Uint8Array, arm: string | undefined): string {
  if (typeof value === 'string') return cut(printable(JSON.stringify(value.slice(0, VALUE))), VALUE);
  if (value instanceof Uint8Array) {
    const shown = hex(value.subarray(0, BYTES));
    return value.length > BYTES ? `${shown}... (${value.length} bytes)` : shown;
  }
  const number = arm === undefined ? String(value) : `${arm} (${value})`;
  return value >= 256 ? `${number} (0x${value.toString(16)})` : number;
}

/** At most so long. */
export function cut(text: string, most: number): string {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}
