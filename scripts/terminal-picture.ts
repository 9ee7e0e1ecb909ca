/** What a program wrote in one piece, and when: ms from its start. */
export interface Written {
  readonly at: number;
  readonly text: string;
}

/** px */
const ROW = 19;
const COLUMN = 8.43;
const MARGIN = 16;

const COLOURS: Readonly<Record<string, string>> = { 31: 'r', 32: 'g', 33: 'y', 36: 'c' };

/**
 * A terminal in which a program runs, as an SVG picture that moves: each line comes when it came, and the last picture stays.
 *
 * @param prompt - the command, as its first line.
 */
export function terminalPicture(prompt: string, written: readonly Written[]): string {
  const rows = [{ at: 0, text: `$ ${prompt}` }, ...written.flatMap(linesOf)];
  const columns = Math.max(...rows.map(({ text }) => plain(text).length));
  const width = Math.ceil(columns * COLUMN + 2 * MARGIN);
  const height = rows.length * ROW + 2 * MARGIN;
  const texts = rows.map(({ at, text }, index) => {
    const y = MARGIN + ROW * (index + 0.75);
    const delay = at === 0 ? '' : ` style="animation-delay:${(at / 1000).toFixed(2)}s"`;
    return `<text x="${MARGIN}" y="${y}"${delay}>${spans(text)}</text>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">`,
    `<title>${escaped(prompt)}</title>`,
    '<style>text{font:14px ui-monospace,monospace;fill:#d0d4dc;white-space:pre;animation:come .01s both}',
    '@keyframes come{from{opacity:0}}.b{font-weight:bold;fill:#fff}.r{fill:#f77}.g{fill:#7d7}.y{fill:#ec6}.c{fill:#6cd}</style>',
    `<rect width="${width}" height="${height}" rx="8" fill="#1b1e26"/>`,
    ...texts,
    '</svg>\n',
  ].join('\n');
}

/** The lines of such a picture, without colours. */
export function linesOfPicture(svg: string): string[] {
  return [...svg.matchAll(/<text [^>]*>(.*)<\/text>/g)].map(([, inside]) =>
    inside!
      .replaceAll(/<[^>]*>/g, '')
      .replaceAll('&lt;', '<')
      .replaceAll('&gt;', '>')
      .replaceAll('&amp;', '&'),
  );
}

function linesOf({ at, text }: Written): Written[] {
  return text
    .replace(/\n$/, '')
    .split('\n')
    .map((line) => ({ at, text: line }));
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const STYLE = /\x1b\[(\d+)m/;

function plain(text: string): string {
  return text
    .split(STYLE)
    .filter((_, index) => index % 2 === 0)
    .join('');
}

function spans(text: string): string {
  let style = '';
  return text
    .split(STYLE)
    .map((piece, index) => {
      if (index % 2 === 1) {
        style = piece === '1' ? 'b' : (COLOURS[piece] ?? '');
        return '';
      }
      if (piece === '') return '';
      return style === '' ? escaped(piece) : `<tspan class="${style}">${escaped(piece)}</tspan>`;
    })
    .join('');
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
