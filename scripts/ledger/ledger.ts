import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type Chapter, parseRules, type Rule, RulesError } from './rules.js';
import { type Title, tagsOf, titlesIn } from './titles.js';

const root = new URL('../../../', import.meta.url);

/** A rule with the tests that hold it. */
export interface Kept extends Rule {
  readonly held: readonly Title[];
}

/** All rules, all tests, and which of them belong together. */
export interface Ledger {
  readonly chapters: readonly Chapter[];
  readonly titles: readonly Title[];
  /** By id. */
  readonly rules: ReadonlyMap<string, Kept>;
  /** What does not fit together, one line each: a test that is not there, a tag that names nothing, a rule that nothing was said of. */
  readonly mistakes: readonly string[];
}

/** Reads the rules in test/ledger/rules and the tests of this tree. */
export function readLedger(): Ledger {
  const folder = new URL('test/ledger/rules/', root);
  const chapters = readdirSync(folder)
    .sort(byNumber)
    .map((name) => {
      try {
        return parseRules(readFileSync(new URL(name, folder), 'utf8'));
      } catch (error) {
        if (!(error instanceof RulesError)) throw error;
        throw new RulesError(`test/ledger/rules/${name}, ${error.message}`);
      }
    });
  return makeLedger(chapters, readTitles());
}

/** Puts rules and tests together. */
export function makeLedger(chapters: readonly Chapter[], titles: readonly Title[]): Ledger {
  const mistakes: string[] = [];
  const rules = new Map<string, Kept>();
  const sections = chapters.flatMap((chapter) => chapter.sections);
  for (const rule of sections.flatMap((section) => section.rules)) {
    const held = [
      ...rule.tests.flatMap((test) => find(test, titles, (what) => mistakes.push(`${rule.id}: ${what}`))),
      ...titles.filter(({ title }) => tagsOf(title).includes(rule.id)),
    ];
    if (rules.has(rule.id)) mistakes.push(`${rule.id}: is there twice`);
    if (rule.reason !== undefined && (rule.open !== undefined || held.length > 0)) {
      mistakes.push(`${rule.id}: can't concern us, and yet has a test, or is open`);
    }
    if (held.length === 0 && rule.reason === undefined && rule.open === undefined) {
      mistakes.push(`${rule.id}: has no test, and no reason why it needs none`);
    }
    rules.set(rule.id, { ...rule, held });
  }
  const known = new Set(sections.flatMap(({ id }) => prefixes(id)));
  for (const { file, title } of titles) {
    for (const tag of tagsOf(title).filter((tag) => /^(2|3|4\.1)\./.test(tag))) {
      if (!rules.has(tag) && !known.has(tag)) mistakes.push(`${file}: there is no ${tag}: ${title}`);
    }
  }
  return { chapters, titles, rules, mistakes };
}

/** `2.7`, `2.7.5` for 2.7.5. */
function prefixes(id: string): string[] {
  const parts = id.split('.');
  return parts.map((_, index) => parts.slice(0, index + 1).join('.'));
}

function find(test: string, titles: readonly Title[], wrong: (what: string) => void): Title[] {
  const [file, title] = [test.slice(0, test.indexOf(': ')), test.slice(test.indexOf(': ') + 2)];
  const called = titles.filter((each) => each.title.startsWith(title));
  const found = called.filter((each) => each.file === file);
  const exact = found.filter((each) => each.title === title);
  if (exact.length === 1) return exact;
  if (found.length === 0) {
    const elsewhere = new Set(called.map((each) => each.file));
    const hint = elsewhere.size === 0 ? '' : ` (but in ${[...elsewhere].join(', ')})`;
    wrong(`no test in ${file}: ${title}${hint}`);
  } else if (found.length > 1) {
    wrong(`several tests in ${file}: ${title}`);
  }
  return found;
}

function readTitles(): Title[] {
  return ['src/', 'test/'].flatMap((folder) => {
    const path = fileURLToPath(new URL(folder, root));
    return readdirSync(path, { recursive: true, encoding: 'utf8' })
      .filter((name) => /(\.test|-cases)\.ts$/.test(name))
      .sort()
      .flatMap((name) =>
        titlesIn(name.replace(/(\.test)?\.ts$/, ''), readFileSync(`${path}${name}`, 'utf8')),
      );
  });
}

function byNumber(a: string, b: string): number {
  return a.localeCompare(b, 'en', { numeric: true });
}
