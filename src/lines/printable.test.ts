import assert from 'node:assert/strict';
import { test } from 'node:test';
import { printable } from './printable.js';

test('what steers a terminal is written out: C0, C1, bidi controls, what separates lines', () => {
  assert.equal(printable('a\x1b[2Jb\x9b2Jc\x7f\n'), 'a\\x1b[2Jb\\x9b2Jc\\x7f\\x0a');
  assert.equal(
    printable('user\u202eresu \u2066x\u2069 \u200f\u061c\u2028'),
    'user\\u202eresu \\u2066x\\u2069 \\u200f\\u061c\\u2028',
  );
});

test('text of any script stays as it is', () => {
  const text = 'grüße, 世界, שלום, \u{1f600} "\\x1b"';
  assert.equal(printable(text), text);
});
