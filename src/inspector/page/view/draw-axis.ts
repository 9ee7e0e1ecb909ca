import { ticks } from '../model/time-window.js';
import { momentText } from '../text/time.js';
import { type Drawing, MONO, placeOf } from './drawing.js';
import { AXIS_HEIGHT, type Band, NAMES_WIDTH } from './timeline-lanes.js';

/** Draws round moments, and the names of the bands. */
export function drawAxis(
  drawing: Drawing,
  bands: readonly Band[],
  chosen: number | undefined,
  height: number,
): void {
  const { context, width, window, colours } = drawing;
  const { step, at } = ticks(window, (width - NAMES_WIDTH) / 130);
  context.font = MONO;
  context.textBaseline = 'middle';
  context.textAlign = 'center';
  context.lineWidth = 1;
  for (const time of at) {
    const x = Math.round(placeOf(drawing, time)) + 0.5;
    if (x < NAMES_WIDTH) continue;
    context.strokeStyle = colours.line;
    context.beginPath();
    context.moveTo(x, AXIS_HEIGHT);
    context.lineTo(x, height);
    context.stroke();
    context.fillStyle = colours['ink-3'];
    if (x > NAMES_WIDTH + 40 && x < width - 44)
      context.fillText(momentText(time, step), x, AXIS_HEIGHT / 2 + 1);
  }
  context.textAlign = 'left';
  for (const { name, queue, top, height: high } of bands) {
    context.strokeStyle = colours.line;
    context.beginPath();
    context.moveTo(0, top + 0.5);
    context.lineTo(width, top + 0.5);
    context.stroke();
    const looked = queue !== undefined && queue === chosen;
    context.font = `${looked ? 600 : 400} 12px "IBM Plex Sans Variable", sans-serif`;
    context.fillStyle = looked ? colours.ink : colours['ink-2'];
    context.fillText(clipped(context, name, NAMES_WIDTH - 14), 8, top + Math.min(high / 2, 16) + 0.5);
  }
}

/** A name that is too long for its place ends with dots. */
function clipped(context: CanvasRenderingContext2D, text: string, room: number): string {
  if (context.measureText(text).width <= room) return text;
  let kept = text.slice(0, 24);
  while (kept.length > 1 && context.measureText(`${kept}…`).width > room) kept = kept.slice(0, -1);
  return `${kept}…`;
}

/** Draws where now is, and stretches in which a queue was held. */
export function drawNow(drawing: Drawing, height: number): void {
  const { context, colours, now } = drawing;
  const x = placeOf(drawing, now);
  if (x < NAMES_WIDTH || x > drawing.width + 1) return;
  context.fillStyle = colours.accent;
  context.fillRect(Math.min(x, drawing.width - 1.5), AXIS_HEIGHT, 1.5, height - AXIS_HEIGHT);
}

/** Tints the time since which a band is held. */
export function drawHold(drawing: Drawing, band: Band, since: number): void {
  const { context, colours, now, width } = drawing;
  const left = Math.max(NAMES_WIDTH, placeOf(drawing, since));
  const right = Math.min(width, placeOf(drawing, now));
  if (right <= left) return;
  context.fillStyle = colours['accent-soft'];
  context.fillRect(left, band.top + 1, right - left, band.height - 1);
}
