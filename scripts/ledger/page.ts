import type { Kept, Ledger } from './ledger.js';
import type { Chapter } from './rules.js';
import type { Title } from './titles.js';

const HEAD = `# Conformance

Where each rule is kept: each MUST, MUST NOT, SHOULD and SHOULD NOT of [VIRTIO](https://docs.oasis-open.org/virtio/virtio/) 1.3, chapters 2, 3 and 4.1,
and of what 1.4 adds there; of QEMU's [vhost-user](https://www.qemu.org/docs/master/interop/vhost-user.html) document; of our own
[draft chapter](spec/virtio-misc.md). Last, the cases by which [virtio-villain](https://github.com/weltling/virtio-villain), a hostile guest, tries devices.

\`npm run ledger\` makes this page of \`test/ledger/rules/\` and the titles of the tests, and a test checks that it is what the script makes. The words are ours:
they say what a device or driver does that keeps the rule. A rule has the number of its section, \`d\` for devices or \`v\` for drivers (\`b\` for back-ends,
\`f\` for front-ends, \`l\` for what is legacy), and its place among those of the section. A test is told by its file, below \`src/\` or \`test/\`, and its title.
What is called open is not kept, or not yet.
`;

/** The ledger as a page in Markdown. */
export function ledgerPage(ledger: Ledger): string {
  const open = [...ledger.rules.values()].filter((rule) => rule.open !== undefined);
  const parts = [HEAD, numbers(ledger)];
  parts.push(`## Open\n\n${open.length === 0 ? 'Nothing.' : openList(open)}\n`);
  for (const chapter of ledger.chapters) parts.push(chapterPart(chapter, ledger));
  return parts.join('\n');
}

/** Rules of a chapter: all, held by tests, that can't concern us, and open. */
export function countRules(chapter: Chapter, ledger: Ledger): [number, number, number, number] {
  const count: [number, number, number, number] = [0, 0, 0, 0];
  for (const { id } of chapter.sections.flatMap((section) => section.rules)) {
    const rule = ledger.rules.get(id)!;
    const many = Math.max(1, rule.keywords.length);
    count[0] += many;
    count[rule.open !== undefined ? 3 : rule.reason !== undefined ? 2 : 1] += many;
  }
  return count;
}

function numbers(ledger: Ledger): string {
  const rows = ledger.chapters.map((chapter) => [chapter.title, ...countRules(chapter, ledger)]);
  return table(['', 'rules', 'held by tests', "can't concern us", 'open'], rows);
}

function openList(rules: readonly Kept[]): string {
  const byReason = new Map<string, string[]>();
  for (const rule of rules) {
    const names = byReason.get(rule.open!) ?? [];
    // Cases of a kind: their table has the names.
    const name =
      rule.keywords.length > 0 ? rule.id : `cases of ${rule.id.slice(0, rule.id.lastIndexOf('-'))}`;
    if (!names.includes(name)) names.push(name);
    byReason.set(rule.open!, names);
  }
  return [...byReason].map(([reason, names]) => `- ${names.join(', ')}: ${plain(reason)}`).join('\n');
}

function chapterPart(chapter: Chapter, ledger: Ledger): string {
  const sections = chapter.sections
    .filter(({ rules }) => rules.length > 0)
    .map(({ id, title, rules }) => {
      const kept = rules.map((rule) => ledger.rules.get(rule.id)!);
      const [head, rows] = rules.every(({ keywords }) => keywords.length === 0)
        ? [['', ''], casesRows(kept, id)]
        : [['', '', '', ''], kept.map((rule) => ruleRow(rule, id))];
      return `### ${id} ${plain(title)}\n\n${table(head, rows)}`;
    });
  return `## ${plain(chapter.title)}\n\n${sections.join('\n')}`;
}

function ruleRow(rule: Kept, section: string): string[] {
  return [rule.id.slice(section.length + 1), keywordsOf(rule), plain(rule.words), fateOf(rule)];
}

/** Cases that the same tests meet share a row. */
function casesRows(cases: readonly Kept[], section: string): string[][] {
  const rows: string[][] = [];
  for (const each of cases) {
    const name = plain(each.id.slice(section.length + 1));
    const fate = fateOf(each);
    const last = rows.at(-1);
    if (last?.[1] === fate) last[0] += `, ${name}`;
    else rows.push([name, fate]);
  }
  return rows;
}

function fateOf({ held, reason, open }: Kept): string {
  return [
    ...held.map(testName),
    ...(reason === undefined ? [] : [plain(reason)]),
    ...(open === undefined ? [] : [`**open**: ${plain(open)}`]),
  ].join('<br>');
}

/** `MUST NOT`, or how often each comes. */
function keywordsOf({ keywords }: Kept): string {
  if (keywords.length < 2) return keywords.join();
  const counts = new Map<string, number>();
  for (const keyword of keywords) counts.set(keyword, (counts.get(keyword) ?? 0) + 1);
  return [...counts].map(([keyword, count]) => `${count} ${keyword}`).join(', ');
}

function testName({ file, title }: Title): string {
  return `\`${file}\`: ${plain(title)}`;
}

function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const line = (cells: readonly (string | number)[]): string => `| ${cells.join(' | ')} |\n`;
  return [line(head), `|${'---|'.repeat(head.length)}\n`, ...rows.map(line)].join('');
}

/** Text as it is, though Markdown would make something of it. */
function plain(text: string): string {
  return text.replace(/[\\`*_<>|[\]{}$]/g, '\\$&');
}
