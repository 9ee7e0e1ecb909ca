import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const GUEST = fileURLToPath(new URL('../../guest/linux/', import.meta.url));
/** What checkpatch allows, a tab going on to the next multiple of 8. */
const COLUMNS = 100;

function columns(line: string): number {
  let at = 0;
  for (const character of line) at = character === '\t' ? (at | 7) + 1 : at + 1;
  return at;
}

test(`no line of the kernel's code is longer than ${COLUMNS} columns, as its own style has it, or ends with blanks`, () => {
  const files = readdirSync(GUEST, { recursive: true, encoding: 'utf8' }).filter((file) =>
    /\.[ch]$/.test(file),
  );
  assert.ok(files.length > 5);
  for (const file of files) {
    for (const [i, line] of readFileSync(join(GUEST, file), 'utf8').split('\n').entries()) {
      assert.ok(columns(line) <= COLUMNS, `${file}:${i + 1}: ${columns(line)} columns`);
      assert.doesNotMatch(line, /[ \t]$/, `${file}:${i + 1}`);
    }
  }
});
