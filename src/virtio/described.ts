/** Characters shown of a text. */
const SHOWN = 40;

/** What a value is, for messages. */
export function described(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (value instanceof Promise) return 'a promise';
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'string')
    return JSON.stringify(value.length > SHOWN ? `${value.slice(0, SHOWN)}...` : value);
  if (typeof value === 'function') return 'a function';
  if (value instanceof Uint8Array) return 'bytes';
  return typeof value === 'object' ? 'an object' : `the ${typeof value} ${String(value)}`;
}
