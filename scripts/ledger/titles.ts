/** A test's title, as its source has it. */
export interface Title {
  /** Below src/ or test/, without what it ends in: `virtqueue/split/chain`. */
  readonly file: string;
  readonly title: string;
}

const CALLS = /(?:\btest\(|\basync )\s*(?:'((?:[^'\\\n]|\\.)*)'|"((?:[^"\\\n]|\\.)*)"|`((?:[^`\\]|\\.)*)`)/g;

/** The titles of the tests in a source file; a title made from a template is told as it is written. */
export function titlesIn(file: string, source: string): Title[] {
  return [...source.matchAll(CALLS)].map(([, single, double, template]) => {
    return { file, title: (single ?? double ?? template)!.replace(/\\(.)/g, '$1') };
  });
}

/** What a title names before its first colon, such as `2.7.8.2, 2.7.7.2` or `2.7.5.1-d3`; none if it does not begin so. */
export function tagsOf(title: string): string[] {
  const tags = /^(\d+(?:\.\d+)+(?:-[dv]\d+)?(?:, \d+(?:\.\d+)+(?:-[dv]\d+)?)*): /.exec(title)?.[1];
  return tags === undefined ? [] : tags.split(', ');
}
