import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { makeLedger, readLedger } from '../../scripts/ledger/ledger.js';
import { ledgerPage } from '../../scripts/ledger/page.js';
import { parseRules, RulesError } from '../../scripts/ledger/rules.js';
import { tagsOf, titlesIn } from '../../scripts/ledger/titles.js';
import { FunctionBench } from '../../src/transports/pci/testing/function-bench.js';
import { ProbeDevice } from '../../src/transports/pci/testing/probe-device.js';
import { FEATURE_WINDOWS } from '../../src/transports/pci/virtio-pci.js';
import { PROTOCOL_F } from '../../src/transports/vhost-user/messages.js';

const root = new URL('../../../', import.meta.url);
const ledger = readLedger();
const rules = [...ledger.rules.values()];

/** Reasons for which a rule may be open. */
const OPEN: ReadonlySet<string> = new Set([
  'kept for ids below 64; the specification has no PCI id for higher ones (virtio-misc, 70), which have 103f and the id as subsystem; virtio-test (45) has 1013, as its design says',
  "a disabled ring is left alone: a request can't be carried out without its effects, and answering it unserved would lose it",
]);

/** Bits of VIRTIO that rules are about and that are not a device's own. */
const VIRTIO_F: Readonly<Record<string, bigint>> = {
  ACCESS_PLATFORM: 1n << 33n,
  RING_PACKED: 1n << 34n,
  IN_ORDER: 1n << 35n,
  NOTIFICATION_DATA: 1n << 38n,
  NOTIF_CONFIG_DATA: 1n << 39n,
  ADMIN_VQ: 1n << 41n,
  SUSPEND: 1n << 43n,
};

/** Protocol features of vhost-user that rules are about. */
const ELSEWHERE: readonly string[] = [
  'CROSS_ENDIAN',
  'CRYPTO_SESSION',
  'DEVICE_STATE',
  'GET_VRING_BASE_SKIP_DRAIN',
  'GPA_ADDRESSES',
  'HOST_NOTIFIER',
  'INBAND_NOTIFICATIONS',
  'INFLIGHT_SHMFD',
  'LOG_SHMFD',
  'PAGEFAULT',
  'SHARED_OBJECT',
  'XEN_MMAP',
];

function offered(feature: string): boolean {
  const bench = new FunctionBench(new ProbeDevice());
  let bits = 0n;
  for (let window = 0; window < FEATURE_WINDOWS; window++) {
    bench.setCommon('device_feature_select', window);
    bits |= BigInt(bench.common('device_feature')) << BigInt(32 * window);
  }
  const mask = VIRTIO_F[feature];
  assert.ok(mask !== undefined || ELSEWHERE.includes(feature), `what is ${feature}?`);
  return feature in PROTOCOL_F || (mask !== undefined && (bits & mask) !== 0n);
}

test('each rule has a test that is there, or a reason, and each tag of a test names a rule or a section', () => {
  assert.deepEqual(ledger.mistakes, []);
  assert.ok(rules.length > 700);
});

test('what is open is known to be', () => {
  for (const { id, open } of rules) {
    if (open !== undefined) assert.ok(OPEN.has(open), `${id} is open: ${open}`);
  }
  for (const reason of OPEN) {
    assert.ok(
      rules.some(({ open }) => open === reason),
      `no longer open: ${reason}`,
    );
  }
});

test('a feature that is said not to be offered is not', () => {
  for (const { id, reason } of rules) {
    const feature = /^not offered: (\w+)$/.exec(reason ?? '')?.[1];
    if (feature !== undefined) assert.ok(!offered(feature), `${id}: ${feature} is offered`);
  }
});

test('docs/conformance.md is what npm run ledger makes', () => {
  const page = readFileSync(new URL('docs/conformance.md', root), 'utf8');
  assert.ok(page === ledgerPage(ledger), 'it is not: run npm run ledger');
});

test('the draft chapter has these rules, with these words of command', () => {
  const chapter = readFileSync(new URL('docs/spec/virtio-misc.md', root), 'utf8');
  const labels = [...chapter.matchAll(/^- \[(\S+)\] (.*)$/gm)].map(([, label, text]) => {
    return `${label} ${text!.match(/\b(?:MUST|SHOULD)(?: NOT)?\b/g)!.join(', ')}`;
  });
  const draft = ledger.chapters.find(({ title }) => title.startsWith('The draft chapter'))!;
  const ours = draft.sections
    .flatMap((section) => section.rules)
    .map(({ id, keywords }) => `${id} ${keywords.join(', ')}`);
  assert.deepEqual(ours.sort(), labels.sort());
});

const RULES = `# Some rules

## 2.7.5.1 Descriptors
d1 MUST NOT writes to no descriptor
  = a/b: it writes
d 2 MUST, 1 SHOULD more of the like
  - nobody has that
d3 SHOULD is left
  ? nobody did

## cases Cases
one_thing, another
  = a/b: 2.7.5: it
`;

test('rules are read with what became of them', () => {
  const { title, sections } = parseRules(RULES);
  assert.equal(title, 'Some rules');
  assert.deepEqual(
    sections.flatMap((section) => section.rules.map(({ id, keywords }) => [id, keywords.join()])),
    [
      ['2.7.5.1-d1', 'MUST NOT'],
      ['2.7.5.1-d', 'MUST,MUST,SHOULD'],
      ['2.7.5.1-d3', 'SHOULD'],
      ['cases-one_thing', ''],
      ['cases-another', ''],
    ],
  );
  for (const [text, says] of [
    ['', /^line 1: a title is missing/],
    ['# T\nd1 MUST be', /^line 2: in which section\?: d1 MUST be/],
    ['# T\n## 1 S\nd1 MAY be', /^line 3: this is no rule: d1 MAY be/],
    ['# T\n## 1 S\n  = a: b', /^line 3: of which rule\?/],
  ] as const) {
    assert.throws(
      () => parseRules(text),
      (error) => error instanceof RulesError && says.test(error.message),
    );
  }
});

test('titles are found, however they are written, and the tags of each', () => {
  const source = `test('2.7.5.1-d1, 2.7.6: it\\'s so', () => {});
    test(\n  \`\${name}: other\`, async (t) => {});
    async '2.7.10: a case'({ connect }) {},
    untest('no'); test(what);`;
  const titles = titlesIn('f', source).map(({ title }) => title);
  assert.deepEqual(titles, ["2.7.5.1-d1, 2.7.6: it's so", '\x24{name}: other', '2.7.10: a case']);
  assert.deepEqual(titles.map(tagsOf), [['2.7.5.1-d1', '2.7.6'], [], ['2.7.10']]);
});

test('a rule without a test, a test that is not there, a tag that names nothing, and a reason too many are mistakes', () => {
  const chapter = parseRules(RULES);
  const title = (text: string): { file: string; title: string } => ({ file: 'a/b', title: text });
  const titles = [title('it writes nothing'), title('2.7.5: it is so')];
  assert.deepEqual(makeLedger([chapter], titles).mistakes, []);
  assert.deepEqual(makeLedger([chapter], titles.slice(1)).mistakes, [
    '2.7.5.1-d1: no test in a/b: it writes',
    '2.7.5.1-d1: has no test, and no reason why it needs none',
  ]);
  const moved = { file: 'c', title: 'it writes nothing' };
  assert.equal(
    makeLedger([chapter], [moved, ...titles.slice(1)]).mistakes[0],
    '2.7.5.1-d1: no test in a/b: it writes (but in c)',
  );
  assert.deepEqual(makeLedger([chapter], [title('it writes here'), ...titles]).mistakes, [
    '2.7.5.1-d1: several tests in a/b: it writes',
  ]);
  const tagged = ['2.7.5.1-d1: so', '2.7.5.1-d4: so', '2.7.5.2: so', '2.7: so', '5.2: so'].map(title);
  assert.deepEqual(makeLedger([chapter], [...titles, ...tagged]).mistakes, [
    'a/b: there is no 2.7.5.1-d4: 2.7.5.1-d4: so',
    'a/b: there is no 2.7.5.2: 2.7.5.2: so',
  ]);
  const bare = parseRules(
    '# T\n## 2.1 S\nd1 MUST be\nd2 MUST be\n  = a/b: it writes\n  - no\nd1 MUST be\n  - no',
  );
  assert.deepEqual(makeLedger([bare], titles.slice(0, 1)).mistakes, [
    '2.1-d1: has no test, and no reason why it needs none',
    "2.1-d2: can't concern us, and yet has a test, or is open",
    '2.1-d1: is there twice',
  ]);
});
