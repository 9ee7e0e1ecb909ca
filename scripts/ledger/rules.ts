/** MUST, MUST NOT, SHOULD or SHOULD NOT. */
export type Keyword = 'MUST' | 'MUST NOT' | 'SHOULD' | 'SHOULD NOT';

/** A rule of a specification, or one of a hostile guest's cases, and what became of it. */
export interface Rule {
  /** Such as `2.7.5.1-d2`: the second rule for devices of that section. */
  readonly id: string;
  /** More than one for rules that are told in one line. */
  readonly keywords: readonly Keyword[];
  readonly words: string;
  /** Tests that hold it, each `FILE: TITLE`; the title may be cut short. */
  readonly tests: readonly string[];
  /** Why it can't concern us. */
  readonly reason: string | undefined;
  /** Why nothing holds it. */
  readonly open: string | undefined;
}

/** Rules that stand under one heading. */
export interface Section {
  /** Such as `2.7.5.1`. */
  readonly id: string;
  readonly title: string;
  readonly rules: readonly Rule[];
}

/** A file of rules. */
export interface Chapter {
  readonly title: string;
  readonly sections: readonly Section[];
}

/** A file of rules that is not written as it should be. */
export class RulesError extends Error {
  override readonly name = 'RulesError';
}

const KEYWORDS = 'MUST NOT|MUST|SHOULD NOT|SHOULD';
const ONE = new RegExp(`^(\\w+) (${KEYWORDS}) (.+)$`);
const MANY = new RegExp(`^(\\w+) ((?:\\d+ (?:${KEYWORDS}),? )+)(.+)$`);
const CASES = /^(\w+(?:, \w+)*)$/;

/**
 * Reads a file of rules:
 *
 * - `# TITLE` is the chapter's, `## 2.7.5.1 TITLE` a section's.
 * - `d2 SHOULD NOT WORDS` is a rule; `d 3 MUST, 1 SHOULD WORDS` are several that share what follows; `one, two` are cases with names.
 * - Below it `= FILE: TITLE` is a test that holds it, `- WHY` says that it can't concern us, `? WHY` that nothing holds it.
 *
 * @throws RulesError that names the line.
 */
export function parseRules(text: string): Chapter {
  const [first = '', ...lines] = text.split('\n');
  const title = /^# (.+)$/.exec(first)?.[1];
  if (title === undefined) throw new RulesError('line 1: a title is missing (# TITLE)');
  const sections: { id: string; title: string; rules: Mutable<Rule>[] }[] = [];
  /** What the lines that follow are about. */
  let about: Mutable<Rule>[] = [];
  for (const [index, line] of lines.entries()) {
    const wrong = (what: string): RulesError => new RulesError(`line ${index + 2}: ${what}: ${line}`);
    const heading = /^## (\S+) (.+)$/.exec(line);
    const fate = /^ {2}([=?-]) (.+)$/.exec(line);
    if (line.trim() === '') continue;
    if (heading !== null) {
      sections.push({ id: heading[1]!, title: heading[2]!, rules: [] });
      about = [];
    } else if (fate !== null) {
      if (about.length === 0) throw wrong('of which rule?');
      for (const rule of about) settle(rule, fate[1]!, fate[2]!);
    } else {
      const section = sections.at(-1);
      if (section === undefined) throw wrong('in which section?');
      about = rulesOf(section.id, line);
      if (about.length === 0) throw wrong('this is no rule');
      section.rules.push(...about);
    }
  }
  return { title, sections };
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

function rulesOf(section: string, line: string): Mutable<Rule>[] {
  const make = (name: string, keywords: Keyword[], words: string): Mutable<Rule> => {
    return { id: `${section}-${name}`, keywords, words, tests: [], reason: undefined, open: undefined };
  };
  const one = ONE.exec(line);
  if (one !== null) return [make(one[1]!, [one[2] as Keyword], one[3]!)];
  const many = MANY.exec(line);
  if (many !== null) {
    const keywords = [...many[2]!.matchAll(new RegExp(`(\\d+) (${KEYWORDS})`, 'g'))].flatMap(
      ([, count, keyword]) => new Array<Keyword>(Number(count)).fill(keyword as Keyword),
    );
    return [make(many[1]!, keywords, many[3]!)];
  }
  const cases = CASES.exec(line);
  return cases === null ? [] : cases[1]!.split(', ').map((name) => make(name, [], ''));
}

function settle(rule: Mutable<Rule>, sign: string, text: string): void {
  if (sign === '=') rule.tests = [...rule.tests, text];
  else if (sign === '-') rule.reason = text;
  else rule.open = text;
}
