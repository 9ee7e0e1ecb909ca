import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { availableFlags, isQueueSize, usedFlags } from './layout.js';
import { Place } from './place.js';

const size = fc.oneof(fc.integer({ min: 1, max: 9 }), fc.constantFrom(32767, 32768));

/** The place after so many descriptors of a fresh ring. */
function placeAt(length: number, steps: number): Place {
  const at = steps % (2 * length);
  return new Place(length, (at % length) | (at < length ? 0x8000 : 0));
}

test('2.8.1: a place goes round the ring, and its wrap counter changes each time', () => {
  fc.assert(
    fc.property(size, fc.nat(70_000), fc.nat(32768), (length, from, steps) => {
      const by = steps % (length + 1);
      const place = placeAt(length, from);
      place.advance(by);
      assert.equal(place.bits, placeAt(length, from + by).bits);
      assert.equal(place.from(placeAt(length, from)), by);
      assert.ok(place.valid);
    }),
  );
});

test('2.8.10: a descriptor is passed when it is among those that a side went on by', () => {
  fc.assert(
    fc.property(size, fc.nat(70_000), fc.nat(32768), fc.nat(70_000), (length, from, steps, ahead) => {
      const by = steps % (length + 1);
      const event = placeAt(length, from + ahead).bits;
      assert.equal(placeAt(length, from).passes(event, by), ahead % (2 * length) < by);
    }),
  );
});

test('2.8.10: a descriptor outside of the ring is never passed, and is no place', () => {
  for (const wrap of [0, 0x8000]) {
    for (const from of [0x8000, 0x8005, 0x0005]) {
      for (const event of [8, 9, 12, 0x7fff]) assert.equal(new Place(8, from).passes(event | wrap, 8), false);
    }
    assert.equal(new Place(8, 8 | wrap).valid, false);
  }
});

test('2.8.1: the owner flags differ in an available descriptor, and are the same in a used one', () => {
  assert.deepEqual(
    [availableFlags(true), availableFlags(false), usedFlags(true), usedFlags(false)],
    [0x0080, 0x8000, 0x8080, 0],
  );
});

test('2.8: a queue size is any number up to 32768', () => {
  for (const good of [1, 2, 3, 1000, 32767, 32768]) assert.ok(isQueueSize(good));
  for (const bad of [0, -1, 32769, 1.5, Number.NaN]) assert.ok(!isQueueSize(bad));
});
