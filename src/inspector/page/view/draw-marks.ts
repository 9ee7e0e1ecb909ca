import type { GapItem, InterruptItem, KickItem, TimelineItem } from '../../protocol.js';
import { countText } from '../text/count.js';
import { type Drawing, EDGE, placeOf, SANS } from './drawing.js';
import { type Band, NAMES_WIDTH } from './timeline-lanes.js';

/** Kicks point down to the device, interrupts up to the driver; hollow where it did not want one. */
export function drawTicks(
  { context, colours, ...drawing }: Drawing,
  y: number,
  items: readonly (KickItem | InterruptItem)[],
  down: boolean,
): void {
  const colour = down ? colours.available : colours.used;
  context.fillStyle = colour;
  context.strokeStyle = colour;
  context.lineWidth = 1;
  // Close together they are lines: a hem of overlapping triangles says nothing.
  const dense = items.length * 8 > drawing.width;
  let last = Number.NEGATIVE_INFINITY;
  for (const item of items) {
    const x = placeOf(drawing, item.time);
    if (x - last < 1.5) continue;
    last = x;
    drawing.targets.push({ item, left: x - 4, right: x + 4, top: y - 2, bottom: y + 8 });
    if (dense) {
      context.globalAlpha = item.type === 'interrupt' && item.suppressed ? 0.4 : 1;
      context.fillRect(x - 0.5, y, 1, 5.5);
      context.globalAlpha = 1;
      continue;
    }
    const hollow = item.type === 'interrupt' && item.suppressed;
    context.beginPath();
    context.moveTo(x - 3, down ? y : y + 5.5);
    context.lineTo(x + 3, down ? y : y + 5.5);
    context.lineTo(x, down ? y + 5.5 : y);
    context.closePath();
    if (hollow) context.stroke();
    else context.fill();
  }
}

/** Draws a stretch that is not told of one by one. */
export function drawGap(drawing: Drawing, band: Band, item: GapItem): void {
  const { context, colours, targets } = drawing;
  const left = placeOf(drawing, item.time);
  const right = Math.max(left + 2, placeOf(drawing, item.to));
  context.save();
  context.beginPath();
  context.rect(left, band.top + EDGE, right - left, band.height - 2 * EDGE);
  context.clip();
  context.strokeStyle = colours['line-strong'];
  context.lineWidth = 1;
  context.beginPath();
  for (let x = Math.max(left, 0) - band.height; x < Math.min(right, drawing.width); x += 6) {
    context.moveTo(x, band.top + band.height);
    context.lineTo(x + band.height, band.top);
  }
  context.stroke();
  if (right - left > 90 && band.height > 40) {
    context.fillStyle = colours['ink-2'];
    context.textAlign = 'center';
    context.textBaseline = 'middle';
    context.font = SANS;
    context.fillText(
      `${countText(item.chains)} not one by one`,
      (left + right) / 2,
      band.top + band.height / 2,
    );
  }
  context.restore();
  targets.push({ item, left, right, top: band.top + EDGE, bottom: band.top + band.height - EDGE });
}

/** What broke, and all else that happened to this queue. */
export function drawMark(drawing: Drawing, band: Band, item: TimelineItem): void {
  if (item.type === 'gap') return;
  const { context, colours, targets } = drawing;
  const x = placeOf(drawing, item.time);
  const broken = item.type === 'broken';
  context.strokeStyle = broken ? colours.broken : colours['line-strong'];
  context.lineWidth = broken ? 2 : 1;
  context.setLineDash(broken ? [] : [2, 3]);
  context.beginPath();
  context.moveTo(x, band.top + 1);
  context.lineTo(x, band.top + band.height - 1);
  context.stroke();
  context.setLineDash([]);
  if (broken) {
    const y = band.top + band.height / 2;
    context.beginPath();
    for (const [dx, dy] of [
      [-4, -4],
      [-4, 4],
    ] as const) {
      context.moveTo(x + dx, y + dy);
      context.lineTo(x - dx, y - dy);
    }
    context.lineWidth = 2.5;
    context.stroke();
  }
  targets.push({ item, left: x - 4, right: x + 4, top: band.top, bottom: band.top + band.height });
}

/** Draws that there is nothing left of what happened before that time. */
export function drawForgotten(drawing: Drawing, band: Band, from: number): void {
  const { context, colours } = drawing;
  const end = Math.min(placeOf(drawing, from), drawing.width);
  if (end <= NAMES_WIDTH) return;
  context.save();
  context.fillStyle = colours.ground;
  context.fillRect(NAMES_WIDTH, band.top + 1, end - NAMES_WIDTH, band.height - 2);
  if (end - NAMES_WIDTH > 110) {
    context.fillStyle = colours['ink-3'];
    context.font = SANS;
    context.textAlign = 'right';
    context.textBaseline = 'middle';
    context.fillText('no longer kept', end - 8, band.top + band.height / 2);
  }
  context.restore();
}
