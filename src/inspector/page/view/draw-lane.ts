import type { InterruptItem, KickItem, TimelineItem } from '../../protocol.js';
import type { Lane } from '../model/lane.js';
import { drawChains, type PlacedChain } from './draw-chains.js';
import { drawGap, drawMark, drawTicks } from './draw-marks.js';
import type { Drawing, OpenItem } from './drawing.js';
import { type Band, NAMES_WIDTH } from './timeline-lanes.js';

/** Draws a queue's band: kicks above, interrupts below, requests between. */
export function drawQueueLane(drawing: Drawing, band: Band, lane: Lane, open: readonly OpenItem[]): void {
  const { context, window, width } = drawing;
  const chains: PlacedChain[] = [];
  const kicks: KickItem[] = [];
  const interrupts: InterruptItem[] = [];
  const marks: TimelineItem[] = [];
  lane.within(window.from, window.from + window.span, ({ item, row, lost }) => {
    if (item.type === 'chain') chains.push({ item, row, lost });
    else if (item.type === 'kick') kicks.push(item);
    else if (item.type === 'interrupt') interrupts.push(item);
    else marks.push(item);
  });
  context.save();
  context.beginPath();
  context.rect(NAMES_WIDTH, band.top, width - NAMES_WIDTH, band.height);
  context.clip();
  for (const item of marks) if (item.type === 'gap') drawGap(drawing, band, item);
  const still = open.filter(
    ({ id, time }) => time < window.from + window.span && !chains.some(({ item }) => item.id === id),
  );
  drawChains(drawing, band, chains, still);
  drawTicks(drawing, band.top + 2, kicks, true);
  drawTicks(drawing, band.top + band.height - 8, interrupts, false);
  for (const item of marks) drawMark(drawing, band, item);
  context.restore();
}
