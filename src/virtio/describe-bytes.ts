import type { Fields, Struct } from './struct.js';

/** Bytes shown as hex. */
const SHOWN = 32;

/**
 * What bytes stand for, in one line: `type=1 delay_ms=500`, followed by what is behind the struct as hex; all as hex without a struct,
 * or when there are too few bytes for it.
 *
 * @param bytes - the first of them, or all.
 * @param total - how many there were.
 */
export function describeBytes(bytes: Uint8Array, total: number, struct?: Struct<Fields>): string {
  if (total === 0) return '';
  if (struct === undefined || bytes.length < struct.size) return hex(bytes, total);
  const fields = Object.entries(struct.decode(bytes)).map(([name, value]) => `${name}=${show(value)}`);
  if (total > struct.size) fields.push(`+ ${hex(bytes.subarray(struct.size), total - struct.size)}`);
  return fields.join(' ');
}

function show(value: unknown): string {
  if (value instanceof Uint8Array) return hex(value, value.length);
  // Quoted as JSON, text can't steer a terminal.
  return typeof value === 'string' ? JSON.stringify(value) : String(value);
}

function hex(bytes: Uint8Array, total: number): string {
  const shown = bytes.subarray(0, SHOWN);
  const text = Array.from(shown, (byte) => byte.toString(16).padStart(2, '0')).join('');
  const more = total - shown.length;
  return more > 0 ? `${text}... (${more} bytes more)` : text;
}
