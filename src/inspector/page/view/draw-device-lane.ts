import type { TimelineItem } from '../../protocol.js';
import type { Lane } from '../model/lane.js';
import { type Drawing, placeOf, SANS } from './drawing.js';
import { type Band, NAMES_WIDTH } from './timeline-lanes.js';

/** Draws the device's band: its lines, and the steps of its life. */
export function drawDeviceLane(drawing: Drawing, band: Band, lane: Lane): void {
  const { context, colours, targets, window } = drawing;
  const y = band.top + band.height / 2;
  context.save();
  context.beginPath();
  context.rect(NAMES_WIDTH, band.top, drawing.width - NAMES_WIDTH, band.height);
  context.clip();
  const items: TimelineItem[] = [];
  lane.within(window.from, window.from + window.span, ({ item }) => items.push(item));
  context.font = SANS;
  context.textAlign = 'left';
  context.textBaseline = 'middle';
  items.forEach((item, i) => {
    if (item.type === 'gap') return;
    const x = placeOf(drawing, item.time);
    const next = items[i + 1];
    const room = (next === undefined ? drawing.width : placeOf(drawing, next.time)) - x - 14;
    const died = item.type === 'event' && item.what === 'died';
    const wrong = item.type === 'broken' || item.type === 'warning' || died;
    context.fillStyle = wrong ? colours.broken : item.type === 'line' ? colours.ink : colours['ink-3'];
    context.beginPath();
    if (item.type === 'line' || item.type === 'warning') context.arc(x, y, 3, 0, 2 * Math.PI);
    else context.rect(x - 1, y - 6, 2, 12);
    context.fill();
    const said = 'text' in item ? item.text : 'error' in item ? item.error : '';
    if (room > 40) {
      context.save();
      context.beginPath();
      context.rect(x + 7, band.top, room, band.height);
      context.clip();
      context.fillText(said.slice(0, 300), x + 7, y + 0.5);
      context.restore();
    }
    targets.push({ item, left: x - 5, right: x + 5, top: band.top, bottom: band.top + band.height });
  });
  context.restore();
}
