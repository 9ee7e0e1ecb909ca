import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { ConsolePipe } from './console.js';
import { InsertReader, piecesOf } from './inserts.js';

/** What was read, in order: what the guest printed, and what was inserted. */
function reading(): { reader: InsertReader; read: string[] } {
  const read: string[] = [];
  const reader = new InsertReader(
    (bytes) => {
      // However it was cut.
      if (read.at(-1)?.startsWith('>')) read[read.length - 1] += bytes.toString('latin1');
      else read.push(`>${bytes.toString('latin1')}`);
    },
    (bytes) => read.push(`<${bytes.toString('latin1')}`),
  );
  return { reader, read };
}

test('what is inserted comes out whole and in its place, however all is cut, and whatever the guest prints', () => {
  const console = fc.array(fc.constantFrom(0, 65, 10), { minLength: 1, maxLength: 40 });
  const insert = fc.nat(9000);
  fc.assert(
    fc.property(
      fc.array(fc.oneof(console, insert), { maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1 }),
      fc.boolean(),
      (said, cuts, forges) => {
        const { reader, read } = reading();
        const expected: string[] = [];
        const all: Buffer[] = [];
        for (const what of said) {
          if (typeof what === 'number') {
            const bytes = Buffer.alloc(what, 'i');
            all.push(...piecesOf(reader.mark, 7, bytes));
            expected.push(`<${bytes.toString('latin1')}`);
            continue;
          }
          // The first bytes of a mark are as near as a guest comes to it.
          const bytes = Buffer.concat([
            Buffer.from(what),
            forges ? reader.mark.subarray(0, 16) : Buffer.of(),
            Buffer.of(1),
          ]);
          all.push(bytes);
          const text = bytes.toString('latin1');
          if (expected.at(-1)?.startsWith('>')) expected[expected.length - 1] += text;
          else expected.push(`>${text}`);
        }
        const stream = Buffer.concat(all);
        for (let at = 0, n = 0; at < stream.length; n++) {
          const size = cuts[n % cuts.length]!;
          reader.push(stream.subarray(at, at + size));
          at += size;
        }
        reader.end();
        assert.deepEqual(read, expected);
      },
    ),
  );
});

test('no piece is longer than what a pipe takes as one; those of two writers may mix', () => {
  const { reader, read } = reading();
  const one = [...piecesOf(reader.mark, 1, Buffer.alloc(10_000, '1'))];
  const two = [...piecesOf(reader.mark, 2, Buffer.alloc(5000, '2'))];
  for (const piece of [...one, ...two]) assert.ok(piece.length <= 4096);
  for (const piece of [one[0]!, two[0]!, one[1]!, two[1]!, one[2]!]) reader.push(piece);
  assert.deepEqual(
    read.map((text) => [text[1], text.length - 1]),
    [
      ['2', 5000],
      ['1', 10_000],
    ],
  );
});

test('another process writes to the pipe between two lines of the guest, and into one', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  const said: string[] = [];
  const pipe = new ConsolePipe({ folder, inserted: (bytes) => said.push(`device: ${bytes}`) });
  try {
    pipe.hear((line) => said.push(`guest: ${line}`));
    const insert = async (text: string): Promise<void> => {
      const [piece] = piecesOf(pipe.mark, 1, Buffer.from(text));
      const script = `fs.writeFileSync(process.argv[1], Buffer.from(process.argv[2], 'hex'))`;
      await once(spawn(process.execPath, ['-e', script, pipe.path, piece!.toString('hex')]), 'exit');
    };
    writeSync(pipe.writeEnd, 'one\ntw');
    await insert('asked');
    writeSync(pipe.writeEnd, 'o\nthree');
    await insert('asked again');
    pipe.close();
    await pipe.ended;
    assert.deepEqual(said, [
      'guest: one',
      'device: asked',
      'guest: two',
      'device: asked again',
      'guest: three',
    ]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
