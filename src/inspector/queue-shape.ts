import { knownShapes } from '../record/known-shapes.js';
import { parseShape, type Shape, shapeOf } from '../record/shape.js';
import { ShapeLayout } from '../record/shape-layout.js';
import type { QueueSpec } from '../virtio/device.js';
import type { Layout } from '../virtio/layout.js';

/** What the bytes of a queue stand for. */
export interface QueueShape {
  readonly request?: Shape | undefined;
  readonly response?: Shape | undefined;
}

/** @param id - of the device: standard ones are known. */
export function queueShape(id: number, { name, shape }: QueueSpec): QueueShape {
  const known = knownShapes(id, name);
  const request = shapeFrom(shape?.request) ?? (known.request && parseShape(known.request));
  const response = shapeFrom(shape?.response) ?? (known.response && parseShape(known.response));
  return { request: request || undefined, response: response || undefined };
}

/** The shape of a layout, one that was read from a recording too. */
export function shapeFrom(layout: Layout<unknown> | undefined): Shape | undefined {
  if (layout === undefined) return undefined;
  return layout instanceof ShapeLayout ? layout.shape : shapeOf(layout);
}
