import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asciiOf, bytesOf, byteText } from './bytes.js';
import { countText, shortText } from './count.js';
import { momentText, spanText } from './time.js';

test('spans are told in the unit that fits, with three figures', () => {
  const told = [0, 999, 1000, 12_345, 999_499_999, 1.2e9, 59e9, 61e9, 3.7e12].map(spanText);
  assert.deepEqual(told, [
    '0 ns',
    '999 ns',
    '1.00 µs',
    '12.3 µs',
    '999 ms',
    '1.20 s',
    '59.0 s',
    '1 min 1 s',
    '1 h 1 min',
  ]);
});

test('moments have the digits that tell neighbours apart, in groups', () => {
  assert.equal(momentText(12_345_678_901), '12.345\u202f679 s');
  assert.equal(momentText(12_345_678_901, 1e9), '12 s');
  assert.equal(momentText(12_345_678_901, 1), '12.345\u202f678\u202f901 s');
});

test('counts', () => {
  assert.equal(countText(1_234_567), '1\u202f234\u202f567');
  assert.deepEqual([0, 7, 0.25, 940, 12_400, 3_100_000].map(shortText), [
    '0',
    '7',
    '0.25',
    '940',
    '12.4\u202fk',
    '3.1\u202fM',
  ]);
});

test('bytes as hex and ASCII: nothing that steers a screen', () => {
  assert.deepEqual([...bytesOf('00ff1b')], [0, 255, 27]);
  assert.equal(byteText(10), '0a');
  assert.equal([0x1b, 0x41, 0x7f, 0x9b, 0xe9].map(asciiOf).join(''), '·A···');
});
