import { printable } from '../lines/printable.js';
import type { InspectEvent } from '../observe/event.js';
import { describeBytes } from '../virtio/describe-bytes.js';
import type { Layout } from '../virtio/layout.js';

/** Where a replay first went otherwise than the recording. */
export interface Difference {
  /** What was recorded. */
  readonly event: InspectEvent;
  /** What is different, in one line. */
  readonly text: string;
  /** More of it, for people. */
  readonly detail: readonly string[];
}

/** Bytes of one kind that came otherwise. @param total - bytes that there were, of which these are the first. */
export function bytesDiffer(
  event: InspectEvent,
  text: string,
  recorded: { readonly bytes: Uint8Array; readonly total: number },
  replayed: { readonly bytes: Uint8Array; readonly total: number },
  layout: Layout<unknown> | undefined,
  before: readonly string[] = [],
): Difference {
  return {
    event,
    text,
    detail: [
      ...before,
      `recorded  ${said(recorded, layout)}`,
      `replayed  ${said(replayed, layout)}`,
      ...fieldsOf(recorded, replayed, layout).map((line) => `differs   ${line}`),
    ].map(printable),
  };
}

function said({ bytes, total }: { bytes: Uint8Array; total: number }, layout?: Layout<unknown>): string {
  return `${total} B${total > 0 ? `: ${describeBytes(bytes, total, layout)}` : ''}`;
}

/** Fields that are shown. */
const SHOWN = 16;

/** The fields that differ; where they have none, the first byte. */
function fieldsOf(
  recorded: { readonly bytes: Uint8Array; readonly total: number },
  replayed: { readonly bytes: Uint8Array; readonly total: number },
  layout: Layout<unknown> | undefined,
): string[] {
  if (recorded.total !== replayed.total)
    return [`length: ${recorded.total} bytes were recorded, ${replayed.total} came`];
  const [a, b] = [decoded(layout, recorded.bytes), decoded(layout, replayed.bytes)];
  const lines: string[] = [];
  if (a !== undefined && b !== undefined) compare('', a, b, lines);
  if (lines.length > 0) return lines.slice(0, SHOWN);
  const at = recorded.bytes.findIndex((byte, index) => byte !== replayed.bytes[index]);
  return at < 0
    ? []
    : [`byte ${at}: 0x${hex(recorded.bytes[at])} was recorded, 0x${hex(replayed.bytes[at])} came`];
}

function compare(path: string, recorded: unknown, replayed: unknown, lines: string[]): void {
  if (recorded instanceof Uint8Array && replayed instanceof Uint8Array) {
    const at = recorded.findIndex((byte, index) => byte !== replayed[index]);
    if (at >= 0) compare(`${path}[${at}]`, recorded[at], replayed[at], lines);
    else if (recorded.length !== replayed.length)
      compare(`${path}.length`, recorded.length, replayed.length, lines);
    return;
  }
  if (isObject(recorded) && isObject(replayed)) {
    for (const key of new Set([...Object.keys(recorded), ...Object.keys(replayed)])) {
      const name = Array.isArray(recorded) ? `${path}[${key}]` : path === '' ? key : `${path}.${key}`;
      compare(name, recorded[key], replayed[key], lines);
    }
    return;
  }
  if (!Object.is(recorded, replayed))
    lines.push(`${path}: ${shown(recorded)} was recorded, ${shown(replayed)} came`);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !(value instanceof Uint8Array);
}

function shown(value: unknown): string {
  if (value === undefined) return 'nothing';
  return typeof value === 'string' ? JSON.stringify(value) : String(value);
}

function decoded(layout: Layout<unknown> | undefined, bytes: Uint8Array): unknown {
  if (layout === undefined || bytes.length < layout.size) return undefined;
  try {
    return layout.decode(bytes);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

function hex(byte: number | undefined): string {
  return (byte ?? 0).toString(16).padStart(2, '0');
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}
