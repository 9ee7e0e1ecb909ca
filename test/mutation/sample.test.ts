import assert from 'node:assert/strict';
import { test } from 'node:test';
import { codeLines, sample, seeded } from './sample.js';

test('lines of code are found, comments and imports are not', () => {
  const text = [
    "import { a } from 'b';",
    '/** What it does. */',
    'export function f(): number {',
    '  // why',
    '  /* a longer',
    '     reason */',
    '',
    '  return a + 1;',
    '}',
  ].join('\n');
  assert.deepEqual(codeLines('f.ts', text), [
    { file: 'f.ts', line: 3 },
    { file: 'f.ts', line: 8 },
  ]);
});

test('a sample holds each line once, in order, and the same ones for the same seed', () => {
  const lines = Array.from({ length: 50 }, (_, line) => ({ file: 'f.ts', line }));
  const chosen = sample(lines, 10, seeded(7));
  assert.equal(new Set(chosen).size, 10);
  assert.deepEqual(
    chosen.map(({ line }) => line),
    chosen.map(({ line }) => line).sort((a, b) => a - b),
  );
  assert.deepEqual(sample(lines, 10, seeded(7)), chosen);
  assert.notDeepEqual(sample(lines, 10, seeded(8)), chosen);
  assert.equal(sample(lines, 80, seeded(7)).length, 50);
});
