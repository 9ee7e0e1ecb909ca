import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const SCRIPT = fileURLToPath(new URL('../../scripts/release.js', import.meta.url));
let folder: string;

function git(...args: string[]): string {
  return execFileSync('git', args, { cwd: folder, encoding: 'utf8' }).trim();
}

/** Runs the script in a small package of its own. */
function release(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [SCRIPT, ...args], { cwd: folder, encoding: 'utf8' });
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  const manifest = {
    name: 'small',
    version: '0.1.0',
    scripts: { test: 'test ! -e broken' },
    files: ['a.js'],
  };
  writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest));
  writeFileSync(join(folder, 'a.js'), '');
  writeFileSync(join(folder, 'CHANGELOG.md'), '# Changelog\n\n## Unreleased\n\n- Something new.\n');
  git('init', '--quiet', '--initial-branch', 'main');
  git('config', 'user.name', 'A. Maintainer');
  git('config', 'user.email', 'maintainer@example.org');
  git('add', '.');
  git('commit', '--quiet', '--message', 'Begin');
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('a release is tested, committed, tagged and packed', () => {
  const { status, stdout, stderr } = release('0.2.0');
  assert.equal(status, 0, stderr);
  assert.match(
    stdout,
    /v0\.2\.0 is committed and tagged; small-0\.2\.0\.tgz has SHA-256 [0-9a-f]{64}\nnext: {2}git push/,
  );
  assert.ok(existsSync(join(folder, 'small-0.2.0.tgz')));
  assert.equal(git('describe', '--tags'), 'v0.2.0');
  assert.equal(git('log', '-1', '--format=%s'), 'Release 0.2.0');
  assert.match(git('show', 'HEAD:package.json'), /"version":\s*"0\.2\.0"/);
  const day = '\\d{4}-\\d{2}-\\d{2}';
  assert.match(
    readFileSync(join(folder, 'CHANGELOG.md'), 'utf8'),
    new RegExp(`^# Changelog\n\n## Unreleased\n\n## 0\\.2\\.0 \\(${day}\\)\n\n- Something new\\.\n$`),
  );
});

for (const [what, version, spoil, said] of [
  ['a version that is none', '2', () => {}, "'2' is no version"],
  ['a version that was', '0.1.0', () => {}, 'is not higher than 0.1.0'],
  ['an early version of one that was', '0.1.0-rc.1', () => {}, 'is not higher than 0.1.0'],
  ['what is not committed', '0.2.0', () => writeFileSync(join(folder, 'a.js'), '1'), 'not committed'],
  ['another branch', '0.2.0', () => git('switch', '--quiet', '--create', 'idea'), "branch 'idea'"],
  ['a tag that is there', '0.2.0', () => git('tag', 'v0.2.0'), 'a tag v0.2.0 already'],
  [
    'a changelog with nothing new',
    '0.2.0',
    () => {
      writeFileSync(
        join(folder, 'CHANGELOG.md'),
        '# Changelog\n\n## Unreleased\n\n## 0.1.0 (2026-01-31)\n\n- All.\n',
      );
      git('commit', '--quiet', '--all', '--message', 'Forget');
    },
    'nothing under "## Unreleased"',
  ],
  [
    'tests that fail',
    '0.2.0',
    () => {
      writeFileSync(join(folder, 'broken'), '');
      git('add', '.');
      git('commit', '--quiet', '--message', 'Break');
    },
    'the tests fail: nothing was changed',
  ],
] as const) {
  test(`${what} is refused in one line, and nothing is changed`, () => {
    spoil();
    const before = [git('rev-parse', 'HEAD'), git('tag'), git('status', '--porcelain')];
    const { status, stderr } = release(version);
    assert.notEqual(status, 0);
    assert.ok(stderr.trimEnd().split('\n').at(-1)!.includes(said), stderr);
    assert.doesNotMatch(stderr, /^\s+at /m);
    assert.deepEqual([git('rev-parse', 'HEAD'), git('tag'), git('status', '--porcelain')], before);
  });
}
