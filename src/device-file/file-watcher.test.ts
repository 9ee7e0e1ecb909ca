import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { FileWatcher } from './file-watcher.js';
import { hashOf } from './module-source.js';

let folder: string;
let files: Map<string, string | undefined>;
let watcher: FileWatcher;
let told = 0;
let heard: () => void = () => {};

/** The next time that it tells of a change, after which the files count as they are. */
const change = (): Promise<void> =>
  new Promise((resolve) => {
    heard = resolve;
  });
const hash = (text: string): string => hashOf(Buffer.from(text));
const at = (name: string): string => join(folder, name);

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  mkdirSync(at('lib'));
  writeFileSync(at('a'), 'one');
  writeFileSync(at('lib/b'), 'one');
  files = new Map([
    [at('a'), hash('one')],
    [at('lib/b'), hash('one')],
    [at('missing'), undefined],
  ]);
  told = 0;
  watcher = new FileWatcher(files, () => {
    told += 1;
    heard();
  });
});
afterEach(() => {
  watcher.close();
  rmSync(folder, { recursive: true, force: true });
});

for (const name of ['a', 'lib/b', 'missing']) {
  test(`${name}: is seen when it is written`, async () => {
    const changed = change();
    writeFileSync(at(name), 'two');
    await changed;
  });

  test(`${name}: is seen when another takes its place, again and again`, async () => {
    for (const text of ['two', 'three', 'four']) {
      const changed = change();
      writeFileSync(at('draft'), text);
      renameSync(at('draft'), at(name));
      await changed;
      files.set(at(name), hash(text));
    }
  });
}

test('a change from before it was watched is seen', async () => {
  const changed = change();
  files.set(at('a'), hash('zero'));
  watcher.look();
  await changed;
});

test('what is the same again, is gone, or is another file does not count', async () => {
  // Looks after the first one does: both hear of the same events, in the order in which they were made.
  const seen = new Promise<void>((resolve) => {
    const later = new FileWatcher(new Map([[at('other'), undefined]]), () => {
      later.close();
      resolve();
    });
  });
  writeFileSync(at('a'), 'one');
  rmSync(at('lib/b'));
  writeFileSync(at('other'), 'two');
  await seen;
  assert.equal(told, 0);
});

test('a file that was removed is seen when it is back, with other content', async () => {
  rmSync(at('a'));
  const changed = change();
  writeFileSync(at('a'), 'two');
  await changed;
});
