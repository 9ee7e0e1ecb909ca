import type { Area, Cell, Marker } from '../model/cell.js';
import type { Palette } from './palette.js';
import type { Sheet } from './use-canvas.js';

/** Where cells are, CSS pixels. */
export interface Grid {
  readonly columns: number;
  readonly width: number;
  readonly height: number;
  /** Between two rows: room for markers. */
  readonly gap: number;
}

/** Narrower ones have no text. */
const TEXT_WIDTH = 17;
/** What all areas together may be high, CSS pixels, if cells do not get too low. */
const ROOM = 222;

/** As large as they fit into this width, in rows that a reader can count in. */
export function gridOf(entries: number, wide: number, areas: number): Grid {
  const most = entries * areas > 400 ? 64 : 32;
  const narrowest = most === 64 ? 9 : TEXT_WIDTH;
  let columns = 1;
  while (columns < entries && columns < most && wide / (columns * 2) >= narrowest) columns *= 2;
  const rows = areas * Math.ceil(entries / columns);
  const pitch = Math.floor(ROOM / rows);
  const gap = Math.max(6, Math.min(10, Math.round(pitch * 0.35)));
  const height = Math.max(11, Math.min(26, pitch - gap));
  return { columns, width: Math.min(46, wide / columns), height, gap };
}

/** The height of all. */
export function gridHeight({ columns, height, gap }: Grid, entries: number): number {
  return Math.ceil(entries / columns) * (height + gap);
}

/** The cell at this place. */
export function cellAt(grid: Grid, area: Area, x: number, y: number): Cell | undefined {
  const column = Math.floor(x / grid.width);
  const row = Math.floor(y / (grid.height + grid.gap));
  return column < 0 || column >= grid.columns ? undefined : area.cells[row * grid.columns + column];
}

/** Draws an area. @param chain - stands out. @param pointed - the slot that a person points at. */
export function drawCells(
  { context }: Sheet,
  grid: Grid,
  area: Area,
  colours: Palette,
  chain: number | undefined,
  pointed: number | undefined,
): void {
  context.font = `${grid.height < 15 ? 9 : 10.5}px "IBM Plex Mono", monospace`;
  context.textAlign = 'center';
  context.textBaseline = 'middle';
  const places = new Map<number, { x: number; y: number }>();
  area.cells.forEach((cell, i) => {
    const x = (i % grid.columns) * grid.width;
    const y = Math.floor(i / grid.columns) * (grid.height + grid.gap) + grid.gap / 2;
    places.set(cell.slot, { x, y });
    drawCell(context, grid, cell, x, y, colours);
    if (chain !== undefined && cell.chain === chain) outline(context, grid, x, y, colours.accent, 1.75);
    if (cell.slot === pointed) outline(context, grid, x, y, colours.ink, 1);
  });
  for (const marker of area.markers) {
    const place = places.get(marker.slot);
    if (place !== undefined) drawMarker(context, grid, marker, place.x, place.y, colours);
  }
}

function drawCell(
  context: CanvasRenderingContext2D,
  { width, height }: Grid,
  { state, fresh, text, joined, writable, indirect }: Cell,
  x: number,
  y: number,
  colours: Palette,
): void {
  const wide = width - 2;
  const round = Math.min(3, wide / 4);
  box(context, x + 1, y, wide, height, round);
  context.fillStyle = colours.free;
  context.fill();
  if (state === 'available') {
    context.globalAlpha = 0.22;
    context.fillStyle = colours.available;
    context.fill();
    context.globalAlpha = 1;
    box(context, x + 1.75, y + 0.75, wide - 1.5, height - 1.5, round);
    context.strokeStyle = colours.available;
    context.lineWidth = 1.5;
    context.stroke();
  } else if (state === 'taken') {
    context.fillStyle = colours.taken;
    context.fill();
  } else if (state === 'used') {
    context.globalAlpha = 0.1 + 0.35 * fresh;
    context.fillStyle = colours.used;
    context.fill();
    context.globalAlpha = 0.3 + 0.7 * fresh;
    context.fillRect(x + 1 + round, y + height - 2, wide - 2 * round, 2);
    context.globalAlpha = 1;
  }
  if (joined && state !== 'free') {
    context.fillStyle =
      state === 'taken' ? colours.taken : state === 'used' ? colours.used : colours.available;
    context.globalAlpha = state === 'used' ? 0.3 + 0.5 * fresh : 1;
    context.fillRect(x + width - 1.5, y + height / 2 - 1.5, 3, 3);
    context.globalAlpha = 1;
  }
  const ink = state === 'taken' ? '#1c1405' : colours.ink;
  if (width >= TEXT_WIDTH) {
    context.fillStyle = state === 'free' ? colours['ink-3'] : ink;
    context.globalAlpha = state === 'free' ? 0.75 : 1;
    context.fillText(text, x + width / 2, y + height / 2 + 0.5, wide - 1);
    context.globalAlpha = 1;
  }
  if (state === 'free') return;
  context.fillStyle = ink;
  if (writable) context.fillRect(x + wide - 3.5, y + 2.5, 2.5, 2.5);
  if (indirect) context.fillRect(x + 3, y + 2.5, 1.5, height - 5);
}

function drawMarker(
  context: CanvasRenderingContext2D,
  { width, height, gap }: Grid,
  { kind }: Marker,
  x: number,
  y: number,
  colours: Palette,
): void {
  const middle = x + width / 2;
  // Where rows are close, their points reach into the cell.
  const into = Math.max(0, 4.5 - gap / 2);
  context.fillStyle = kind === 'event' ? colours['ink-2'] : colours.ink;
  context.beginPath();
  if (kind === 'driver') triangle(context, middle, y - gap / 2, middle, y + into, 4);
  else if (kind === 'device') triangle(context, middle, y + height + gap / 2, middle, y + height - into, 4);
  else {
    const left = x + width - 1;
    context.moveTo(left, y - 4.5);
    context.lineTo(left + 3.5, y - 1);
    context.lineTo(left, y + 2.5);
    context.lineTo(left - 3.5, y - 1);
  }
  context.closePath();
  context.fill();
}

/** With its base at one height, and its point at another. */
function triangle(
  context: CanvasRenderingContext2D,
  x: number,
  base: number,
  to: number,
  point: number,
  half: number,
): void {
  context.moveTo(x - half, base);
  context.lineTo(x + half, base);
  context.lineTo(to, point);
}

function outline(
  context: CanvasRenderingContext2D,
  { width, height }: Grid,
  x: number,
  y: number,
  colour: string,
  line: number,
): void {
  box(context, x + 0.5, y - 0.5, width - 1, height + 1, 3.5);
  context.strokeStyle = colour;
  context.lineWidth = line;
  context.stroke();
}

function box(
  context: CanvasRenderingContext2D,
  x: number,
  y: number,
  width: number,
  height: number,
  round: number,
): void {
  context.beginPath();
  context.roundRect(x, y, width, height, round);
}
