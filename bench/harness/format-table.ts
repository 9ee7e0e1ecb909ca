import type { Cell, Table } from './bench.js';

/** A table as text for a terminal, which is a table of Markdown too. */
export function formatTable({ title, columns, rows, notes = [] }: Table): string {
  const cells = [columns, ...rows.map((row) => columns.map((_, column) => formatCell(row[column])))];
  const widths = columns.map((_, column) => Math.max(3, ...cells.map((row) => row[column]!.length)));
  const line = (row: readonly string[]): string =>
    `| ${row.map((cell, column) => (column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!))).join(' | ')} |`;
  const rule = `|${widths.map((width, column) => (column === 0 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|`;
  const [head, ...body] = cells.map(line);
  return [title, '', head, rule, ...body, ...notes.flatMap((note) => ['', note]), ''].join('\n');
}

function formatCell(cell: Cell): string {
  if (cell === undefined) return '';
  if (typeof cell === 'string') return cell;
  if (typeof cell === 'number') return formatNumber(cell);
  const { median, min, max } = cell;
  const middle = formatNumber(median);
  return min === max ? middle : `${middle} (${formatNumber(min)}..${formatNumber(max)})`;
}

const UNITS = [
  [1e9, ' G'],
  [1e6, ' M'],
  [1e3, ' k'],
] as const;

/** Three digits that count. */
function formatNumber(value: number): string {
  const magnitude = Math.abs(value);
  if (magnitude < 10_000) return threeDigits(value);
  for (const [size, unit] of UNITS) if (magnitude >= size) return `${threeDigits(value / size)}${unit}`;
  return threeDigits(value);
}

function threeDigits(value: number): string {
  if (Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  if (size < 0.01) return value.toPrecision(2);
  return value.toFixed(size < 10 ? 2 : size < 100 ? 1 : 0);
}
