import type { Layout } from './layout.js';

/** Bytes shown as hex. */
const SHOWN = 32;
/** Elements shown of an array. */
const ELEMENTS = 8;

/**
 * What bytes stand for, in one line: `type=1 delay_ms=500`, followed by what is behind the struct as hex; all as hex without a struct,
 * or when there are too few bytes for it.
 *
 * @param bytes - the first of them, or all.
 * @param total - how many there were.
 */
export function describeBytes(bytes: Uint8Array, total: number, layout?: Layout<unknown>): string {
  if (total === 0) return '';
  const values = layout === undefined ? undefined : decoded(layout, bytes, total);
  if (values === undefined) return hex(bytes, total);
  const fields = Object.entries(values).map(([name, value]) => `${name}=${show(value)}`);
  const { most } = layout!;
  if (total > most) fields.push(`+ ${hex(bytes.subarray(most), total - most)}`);
  return fields.join(' ');
}

/** Nothing for bytes that are not all there. */
function decoded(layout: Layout<unknown>, bytes: Uint8Array, total: number): object | undefined {
  const { size, most } = layout;
  if (bytes.length < (size === most ? size : Math.min(total, most))) return undefined;
  try {
    return layout.decode(bytes) as object;
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

function show(value: unknown): string {
  if (value instanceof Uint8Array) return hex(value, value.length);
  if (Array.isArray(value)) {
    const shown = value.slice(0, ELEMENTS).map(show);
    if (value.length > ELEMENTS) shown.push(`... (${value.length - ELEMENTS} more)`);
    return `[${shown.join(' ')}]`;
  }
  if (typeof value === 'object' && value !== null) {
    return `{${Object.entries(value)
      .map(([name, inner]) => `${name}=${show(inner)}`)
      .join(' ')}}`;
  }
  // Quoted as JSON, text can't steer a terminal.
  return typeof value === 'string' ? JSON.stringify(value) : String(value);
}

function hex(bytes: Uint8Array, total: number): string {
  const shown = bytes.subarray(0, SHOWN);
  const text = Array.from(shown, (byte) => byte.toString(16).padStart(2, '0')).join('');
  const more = total - shown.length;
  return more > 0 ? `${text}... (${more} bytes more)` : text;
}
