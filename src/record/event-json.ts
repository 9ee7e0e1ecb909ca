import type { InspectEvent, SeenDevice } from '../observe/event.js';
import type { Layout } from '../virtio/layout.js';
import { shapeOf } from './event-line.js';
import { shapeText } from './shape.js';
import { ShapeLayout } from './shape-layout.js';

/** An event as one line of JSON: bytes as hex, numbers that are too large as texts, and what bytes stand for as `fields`. */
export function eventJson(event: InspectEvent, device: SeenDevice | undefined): string {
  const shape =
    'queue' in event && event.queue !== undefined ? shapeOf({ queue: event.queue }, device) : undefined;
  const layout =
    event.type === 'taken' ? shape?.request : event.type === 'used' ? shape?.response : undefined;
  const fields = 'bytes' in event ? decoded(layout, event.bytes) : undefined;
  return JSON.stringify({ ...event, ...(fields !== undefined && { fields }) }, plain);
}

function decoded(layout: Layout<unknown> | undefined, bytes: Uint8Array): unknown {
  if (layout === undefined || bytes.length === 0) return undefined;
  try {
    return layout.decode(bytes);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

function plain(_: string, value: unknown): unknown {
  if (value instanceof Uint8Array) return hex(value);
  if (value instanceof ShapeLayout) return shapeText(value.shape);
  return typeof value === 'bigint' ? `0x${value.toString(16)}` : value;
}

/** Two digits each. */
export function hex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0');
  return text;
}
