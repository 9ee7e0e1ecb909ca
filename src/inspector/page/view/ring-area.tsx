import type { ReadonlySignal } from '@preact/signals';
import type { JSX } from 'preact';
import type { Area, Cell } from '../model/cell.js';
import { addressText } from '../text/count.js';
import { cellAt, drawCells, gridHeight, gridOf } from './draw-cells.js';
import { Glyph } from './glyph.js';
import { palette } from './palette.js';
import { useCanvas } from './use-canvas.js';
import { useWidth } from './use-width.js';

/** What is pointed at: with the mouse, or with the arrow keys. */
export interface Pointed {
  readonly area: string;
  readonly cell: Cell;
}

/** One area of a ring: its name and numbers, and its entries. */
export function RingArea({
  area,
  areas,
  chain,
  pointed,
  point,
}: {
  readonly area: ReadonlySignal<Area | undefined>;
  /** How many there are, of this ring. */
  readonly areas: number;
  readonly chain: ReadonlySignal<number | undefined>;
  readonly pointed: ReadonlySignal<Pointed | undefined>;
  readonly point: (pointed: Pointed | undefined) => void;
}): JSX.Element | null {
  const [box, width] = useWidth<HTMLElement>();
  const shown = area.value;
  const canvas = useCanvas((sheet) => {
    const now = area.value;
    if (now === undefined) return false;
    const at = pointed.value;
    const slot = at?.area === now.name ? at.cell.slot : undefined;
    drawCells(sheet, gridOf(now.cells.length, sheet.width, areas), now, palette(), chain.value, slot);
    return false;
  });
  if (shown === undefined) return null;
  const grid = gridOf(shown.cells.length, width.value, areas);
  const at = (event: MouseEvent): Cell | undefined => cellAt(grid, shown, event.offsetX, event.offsetY);
  const byKey = (event: KeyboardEvent): void => {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -grid.columns, ArrowDown: grid.columns }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const now = pointed.value?.area === shown.name ? pointed.value.cell.slot : undefined;
    const from = now === undefined ? -1 : shown.cells.findIndex(({ slot }) => slot === now);
    const cell = shown.cells[from < 0 ? 0 : Math.min(shown.cells.length - 1, Math.max(0, from + step))];
    if (cell !== undefined) point({ area: shown.name, cell });
  };
  return (
    <section class="area" ref={box}>
      <header>
        <h3>{shown.name}</h3>
        {shown.address ? <code class="address">{addressText(shown.address)}</code> : null}
        <span class="numbers">
          {shown.numbers.map(({ name, value, kind }) => (
            <span key={name}>
              {kind === undefined ? null : <Glyph kind={kind} />}
              {name} <code>{value}</code>
            </span>
          ))}
        </span>
      </header>
      <canvas
        ref={canvas}
        tabIndex={0}
        role="img"
        aria-label={`${shown.name}: ${shown.cells.filter(({ state }) => state === 'taken').length} entries in the device, ${shown.cells.filter(({ state }) => state === 'available').length} available`}
        style={{ height: `${gridHeight(grid, shown.cells.length)}px` }}
        onMouseMove={(event) => {
          const cell = at(event);
          point(cell && { area: shown.name, cell });
        }}
        onMouseLeave={() => point(undefined)}
        onKeyDown={byKey}
        onBlur={() => point(undefined)}
      />
    </section>
  );
}
