import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { parseDeb822, parseOneLine, readAptSources } from './apt-sources.js';

test('one-line sources: options, comments, disabled lines, source packages', () => {
  const text = `
# deb http://mirror.example/debian buster main
deb http://mirror.example/debian bookworm main contrib # a comment
deb-src http://mirror.example/debian bookworm main
  deb [ arch=amd64 signed-by=/keys/a.gpg,/keys/b.gpg ] https://mirror.example/debian/ bookworm-updates main
deb [signed-by=0123456789ABCDEF] http://mirror.example/debian sid main
deb`;
  assert.deepEqual(parseOneLine(text), [
    { uri: 'http://mirror.example/debian', suite: 'bookworm', components: ['main', 'contrib'], keyrings: [] },
    {
      uri: 'https://mirror.example/debian/',
      suite: 'bookworm-updates',
      components: ['main'],
      keyrings: ['/keys/a.gpg', '/keys/b.gpg'],
    },
    { uri: 'http://mirror.example/debian', suite: 'sid', components: ['main'], keyrings: [] },
  ]);
});

test('deb822 sources: several suites, continued fields, comments, disabled paragraphs, a key in place', () => {
  const text = `# The archive
Types: deb deb-src
# an older mirror
URIs: http://one.example/debian
Suites: bookworm
  bookworm-updates
Components: main
Signed-By: /keys/a.gpg

Enabled: no
Types: deb
URIs: http://two.example/debian
Suites: sid
Components: main
\t
types: deb
uris: http://three.example/debian
suites: trixie
components: main non-free-firmware
signed-by:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEZ
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb-src
URIs: http://four.example/debian
Suites: trixie
Components: main
`;
  assert.deepEqual(parseDeb822(text), [
    { uri: 'http://one.example/debian', suite: 'bookworm', components: ['main'], keyrings: ['/keys/a.gpg'] },
    {
      uri: 'http://one.example/debian',
      suite: 'bookworm-updates',
      components: ['main'],
      keyrings: ['/keys/a.gpg'],
    },
    {
      uri: 'http://three.example/debian',
      suite: 'trixie',
      components: ['main', 'non-free-firmware'],
      keyrings: [],
    },
  ]);
});

test('all files of an apt are read, each in its format, and others are not', async () => {
  const etc = await mkdtemp(path.join(tmpdir(), 'virtio-misc-etc-'));
  try {
    await mkdir(path.join(etc, 'sources.list.d'));
    await writeFile(path.join(etc, 'sources.list'), 'deb http://a.example/debian bookworm main\n');
    await writeFile(path.join(etc, 'sources.list.d/b.list'), 'deb http://b.example/debian bookworm main\n');
    await writeFile(
      path.join(etc, 'sources.list.d/a.sources'),
      'Types: deb\nURIs: http://c.example/debian\nSuites: sid\n',
    );
    await writeFile(
      path.join(etc, 'sources.list.d/b.list.disabled'),
      'deb http://d.example/debian bookworm main\n',
    );
    const found = (await readAptSources(etc)).map(({ uri }) => uri);
    assert.deepEqual(found, [
      'http://a.example/debian',
      'http://c.example/debian',
      'http://b.example/debian',
    ]);
    await rm(path.join(etc, 'sources.list'));
    assert.equal((await readAptSources(etc)).length, 2);
  } finally {
    await rm(etc, { recursive: true });
  }
});
