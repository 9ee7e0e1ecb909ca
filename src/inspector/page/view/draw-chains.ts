import type { ChainItem } from '../../protocol.js';
import { beginOf } from '../model/lane.js';
import { type Drawing, EDGE, MONO, ON_TAKEN, type OpenItem, placeOf } from './drawing.js';
import { type Band, NAMES_WIDTH } from './timeline-lanes.js';

/** Requests for each pixel from which on they are counted, and not drawn one by one. */
const CROWD = 0.7;

/** A chain, the row that it has, and when its ring went, if it never comes back. */
export interface PlacedChain {
  readonly item: ChainItem;
  readonly row: number;
  readonly lost: number | undefined;
}

/** Draws requests one by one, or how many there were. @param open - those that are not over. */
export function drawChains(
  drawing: Drawing,
  band: Band,
  chains: readonly PlacedChain[],
  open: readonly OpenItem[],
): void {
  if (chains.length > (drawing.width - NAMES_WIDTH) * CROWD) {
    drawCrowd(drawing, band, chains);
    return;
  }
  const room = band.height - 2 * EDGE - 2;
  // What moves with the time keeps its row; a still picture has no rows that are empty.
  const used = [...new Set(chains.map(({ row }) => row))].sort((a, b) => a - b);
  const rowOf = drawing.follows ? (row: number) => row : (row: number) => used.indexOf(row);
  const rows = drawing.follows ? (used.at(-1) ?? -1) + 1 : used.length;
  const pitch = Math.min(24, Math.max(4, room / Math.max(1, rows + open.length)));
  const high = Math.max(3, pitch - 2);
  const top = (row: number): number =>
    band.top + EDGE + 1 + ((row * pitch) % Math.max(pitch, room - high + 1));
  drawing.context.font = MONO;
  drawing.context.textBaseline = 'middle';
  drawing.context.textAlign = 'left';
  for (const { item, row, lost } of chains)
    drawChain(drawing, item, lost ?? drawing.now, top(rowOf(row)), high);
  open.forEach((item, i) => {
    drawOpen(drawing, item, top(rows + i), high);
  });
}

function drawChain(drawing: Drawing, item: ChainItem, until: number, y: number, high: number): void {
  const { context, colours, chosen, targets } = drawing;
  const begin = placeOf(drawing, beginOf(item));
  const taken = placeOf(drawing, item.time);
  const right = Math.max(placeOf(drawing, item.used ?? until), taken + 2);
  const end = Math.max(right, placeOf(drawing, item.interrupt ?? item.used ?? until));
  if (taken - begin > 0.5) {
    context.globalAlpha = 0.5;
    context.fillStyle = colours.available;
    context.fillRect(begin, y + high * 0.2, taken - begin, high * 0.6);
    context.globalAlpha = 1;
  }
  context.globalAlpha = item.used === undefined ? 0.7 : 1;
  context.fillStyle = colours.taken;
  context.beginPath();
  context.roundRect(taken, y, right - taken, high, Math.min(2.5, (right - taken) / 3));
  context.fill();
  context.globalAlpha = 1;
  if (end - right > 0.5) {
    context.globalAlpha = item.suppressed ? 0.35 : 0.85;
    context.fillStyle = colours.used;
    context.fillRect(right, y + high * 0.3, end - right, high * 0.4);
    context.globalAlpha = 1;
  }
  if (item.id === chosen) {
    context.strokeStyle = colours.accent;
    context.lineWidth = 2;
    context.strokeRect(begin - 2, y - 2, end - begin + 4, high + 4);
  }
  write(drawing, item.text === '' ? `#${item.chain}` : `#${item.chain} ${item.text}`, taken, right, y, high);
  targets.push({ item, left: begin - 2, right: end + 2, top: y - 1, bottom: y + high + 1 });
}

/** One that the device still has: it goes on to now, and is paler. */
function drawOpen(drawing: Drawing, item: OpenItem, y: number, high: number): void {
  const { context, colours, chosen, targets, now } = drawing;
  const left = placeOf(drawing, item.time);
  const right = Math.max(left + 2, placeOf(drawing, now));
  context.globalAlpha = 0.7;
  context.fillStyle = colours.taken;
  context.fillRect(left, y, right - left, high);
  context.globalAlpha = 1;
  if (item.id !== undefined && item.id === chosen) {
    context.strokeStyle = colours.accent;
    context.lineWidth = 2;
    context.strokeRect(left - 2, y - 2, right - left + 4, high + 4);
  }
  write(drawing, `in the device, head ${item.head}`, left, right, y, high);
  targets.push({ item, left, right, top: y - 1, bottom: y + high + 1 });
}

function write({ context }: Drawing, text: string, from: number, to: number, y: number, high: number): void {
  const left = Math.max(from, NAMES_WIDTH);
  if (high < 12 || to - left < 60) return;
  context.save();
  context.beginPath();
  context.rect(left, y, to - left - 4, high);
  context.clip();
  context.fillStyle = ON_TAKEN;
  context.fillText(text, left + 6, y + high / 2 + 0.5);
  context.restore();
}

/** Too many to be drawn: how many there were, by time. */
function drawCrowd(
  { context, colours, ...drawing }: Drawing,
  band: Band,
  chains: readonly { item: ChainItem }[],
): void {
  const step = 3;
  const counts = new Float64Array(Math.ceil((drawing.width - NAMES_WIDTH) / step) + 1);
  for (const { item } of chains) {
    const bin = Math.floor((placeOf(drawing, item.time) - NAMES_WIDTH) / step);
    if (bin >= 0 && bin < counts.length) counts[bin]! += 1;
  }
  const most = counts.reduce((a, b) => Math.max(a, b), 1);
  const room = band.height - 2 * EDGE - 4;
  const bottom = band.top + band.height - EDGE - 2;
  context.fillStyle = colours.taken;
  counts.forEach((count, i) => {
    if (count === 0) return;
    const high = Math.max(1.5, (count / most) * room);
    context.globalAlpha = 0.55 + 0.45 * (count / most);
    context.fillRect(NAMES_WIDTH + i * step, bottom - high, step - 1, high);
  });
  context.globalAlpha = 1;
}
