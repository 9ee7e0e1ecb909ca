import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { passesEvent } from './event-index.js';

test('2.7.7.2: an event is passed when the entry with its index is written', () => {
  assert.equal(passesEvent(0, 0, 1), true);
  assert.equal(passesEvent(1, 0, 1), false);
  assert.equal(passesEvent(0, 1, 2), false);
  assert.equal(passesEvent(5, 3, 8), true);
  assert.equal(passesEvent(8, 3, 8), false);
});

test('2.7.7.2: nothing was passed when nothing was written', () => {
  for (const event of [0, 1, 6, 7, 8, 0xffff]) assert.equal(passesEvent(event, 7, 7), false);
});

test('2.7.7.2: the rule holds across the 16-bit wrap', () => {
  assert.equal(passesEvent(0xffff, 0xffff, 0), true);
  assert.equal(passesEvent(0, 0xffff, 0), false);
  assert.equal(passesEvent(0, 0xffff, 1), true);
  assert.equal(passesEvent(0xfffe, 0xffff, 1), false);
});

test('2.7.7.2: an event is passed exactly when it is one of the entries written, each looked at', () => {
  const u16 = fc.nat(0xffff);
  fc.assert(
    fc.property(u16, fc.nat(300), fc.integer({ min: -400, max: 400 }), (from, count, distance) => {
      const event = (from + distance) & 0xffff;
      const written = Array.from({ length: count }, (_, i) => (from + i) & 0xffff);
      assert.equal(passesEvent(event, from, (from + count) & 0xffff), written.includes(event));
    }),
  );
});
