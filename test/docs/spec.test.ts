import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

// The draft chapter says what the header says, and labels each rule once.

const root = new URL('../../../', import.meta.url);
const chapter = readFileSync(new URL('docs/spec/virtio-misc.md', root), 'utf8');
const header = readFileSync(new URL('guest/linux/include/uapi/linux/virtio_misc.h', root), 'utf8');

/** `NAME value` of each constant of the wire. */
const constants = (text: string): string[] =>
  [...text.matchAll(/^#define (VIRTIO_MISC_(?:S_)?[A-Z_]+)\s+(\d+)/gm)]
    .filter(([, name]) => !/_F_|_IOC_|MIN_INTERVAL/.test(name!))
    .map(([, name, value]) => `${name} ${value}`);

/** `struct NAME { le32 a; ... }` without comments. */
const structs = (text: string, word: string): Map<string, string[]> =>
  new Map(
    [...text.matchAll(/struct (virtio_misc_(?:config|req_\w+|notification)) \{([^}]*)\}/g)].map(
      ([, name, body]) => [
        name!,
        [...body!.replace(/\/\*.*?\*\//gs, '').matchAll(new RegExp(`${word}(32|64)\\s+(\\w+);`, 'g'))].map(
          ([, bits, field]) => `${bits} ${field}`,
        ),
      ],
    ),
  );

test('constants, features and layouts are those of the header', () => {
  assert.deepEqual(constants(chapter).sort(), constants(header).sort());
  const features = [...chapter.matchAll(/^\| (\d+) \| (VIRTIO_MISC_F_\w+)/gm)].map(
    ([, bit, name]) => `${name} ${bit}`,
  );
  const inHeader = [...header.matchAll(/^#define (VIRTIO_MISC_F_\w+)\s+(\d+)/gm)].map(
    ([, name, bit]) => `${name} ${bit}`,
  );
  assert.deepEqual(features, inHeader);
  assert.deepEqual(structs(chapter, 'le'), structs(header, '__le'));
  assert.equal(structs(chapter, 'le').size, 5);
  assert.match(chapter, new RegExp(`## Device ID\\n\\n${/VIRTIO_ID_MISC\s+(\d+)/.exec(header)![1]}\\n`));
});

test('each normative statement has a label of its own, of the side whose it is', () => {
  const labels: string[] = [];
  let side = '';
  for (const line of chapter.split('\n')) {
    if (line.startsWith('#')) side = /^### (Device|Driver) requirements: /.exec(line)?.[1] ?? '';
    const label = /^- \[([DV]-[a-z]+-\d+)\] /.exec(line)?.[1];
    assert.equal(label !== undefined, side !== '' && line.startsWith('- '), line);
    if (label === undefined) continue;
    assert.equal(label[0], side === 'Device' ? 'D' : 'V', line);
    assert.match(line, /\b(MUST|SHOULD)\b/);
    labels.push(label);
  }
  assert.equal(new Set(labels).size, labels.length);
  assert.ok(labels.length > 25);
});
