import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type CpioEntry, foldersAbove, writeCpio } from './cpio.js';

interface Read {
  readonly path: string;
  readonly mode: number;
  readonly content: string;
}

/** Reads an archive as the kernel's unpacker does: headers and contents at multiples of four. */
function readCpio(archive: Buffer): Read[] {
  const found: Read[] = [];
  for (let at = 0; ; ) {
    assert.equal(archive.toString('latin1', at, at + 6), '070701');
    assert.equal(at % 4, 0);
    const field = (index: number): number =>
      Number.parseInt(archive.toString('latin1', at + 6 + index * 8, at + 14 + index * 8), 16);
    const [mode, size, nameSize] = [field(1), field(6), field(11)];
    const name = archive.toString('utf8', at + 110, at + 110 + nameSize - 1);
    assert.equal(archive[at + 110 + nameSize - 1], 0);
    const start = (at + 110 + nameSize + 3) & ~3;
    at = (start + size + 3) & ~3;
    if (name === 'TRAILER!!!') {
      assert.equal(at, archive.length);
      return found;
    }
    found.push({ path: name, mode, content: archive.toString('latin1', start, start + size) });
  }
}

test('an archive reads back as it was written, whatever the lengths', () => {
  const name = fc.stringMatching(/^[a-zé_.]{1,9}$/);
  const entry: fc.Arbitrary<CpioEntry> = fc.oneof(
    fc.record({ path: name, folder: fc.constant(true as const) }),
    fc.record({ path: name, link: name }),
    fc.record({
      path: name,
      content: fc.uint8Array({ maxLength: 9 }),
      mode: fc.integer({ min: 0, max: 0o7777 }),
    }),
  );
  fc.assert(
    fc.property(fc.array(entry), (entries) => {
      const expected = entries.map((one): Read => {
        if ('folder' in one) return { path: one.path, mode: 0o40755, content: '' };
        if ('link' in one)
          return { path: one.path, mode: 0o120777, content: Buffer.from(one.link).toString('latin1') };
        return {
          path: one.path,
          mode: 0o100000 | one.mode,
          content: Buffer.from(one.content).toString('latin1'),
        };
      });
      assert.deepEqual(readCpio(writeCpio(entries)), expected);
    }),
  );
});

test('the same entries give the same bytes, and each has an inode of its own', () => {
  const entries: CpioEntry[] = [
    { path: 'a', folder: true },
    { path: 'a/b', content: Buffer.from('x'), mode: 0o644 },
    { path: 'a/c', link: 'b' },
  ];
  const archive = writeCpio(entries);
  assert.deepEqual(archive, writeCpio(entries));
  const inodes = [...archive.toString('latin1').matchAll(/070701([0-9a-f]{8})/g)].map(([, inode]) => inode);
  assert.equal(new Set(inodes).size, 4);
});

test('the folders above a path, outermost first', () => {
  assert.deepEqual(foldersAbove('a/b/c'), ['a', 'a/b']);
  assert.deepEqual(foldersAbove('a'), []);
});
