/** Lines shown before and after. */
const AROUND = 2;
/** Characters shown of a line. */
const WIDTH = 120;
/** Bytes of a file that is looked into. */
const READ_MOST = 1 << 20;

/** What of Node is needed, where there is Node. */
type FileSystem = Pick<typeof import('node:fs'), 'readFileSync' | 'statSync'>;

/**
 * A line of a file, with those around it and a mark below the column:
 *
 * ```text
 *   11 |   handle({ a, b }) {
 * > 12 |     return { sum: a.x.y };
 *      |                       ^
 *   13 |   },
 * ```
 *
 * @param line - from 1 on, as `column`.
 * @returns nothing for a file that can't be read, or has no such line.
 */
export function codeFrame(path: string, line: number, column: number): string[] {
  const text = read(path);
  if (text === undefined) return [];
  const lines = text.split(/\r?\n/);
  if (line < 1 || line > lines.length) return [];
  const first = Math.max(1, line - AROUND);
  const last = Math.min(lines.length, line + AROUND);
  const digits = String(last).length;
  const frame: string[] = [];
  for (let at = first; at <= last; at++) {
    const number = String(at).padStart(digits);
    frame.push(`${at === line ? '>' : ' '} ${number} | ${shown(lines[at - 1]!)}`.trimEnd());
    if (at !== line) continue;
    const before = shown(lines[at - 1]!.slice(0, column - 1)).length;
    if (before < WIDTH) frame.push(`  ${' '.repeat(digits)} | ${' '.repeat(before)}^`);
  }
  return frame;
}

/** As wide as it looks. */
function shown(line: string): string {
  return line.replaceAll('\t', '  ').slice(0, WIDTH);
}

function read(path: string): string | undefined {
  const fs = globalThis.process?.getBuiltinModule?.('node:fs') as FileSystem | undefined;
  try {
    const stat = fs?.statSync(path);
    if (stat === undefined || !stat.isFile() || stat.size > READ_MOST) return undefined;
    return fs!.readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
