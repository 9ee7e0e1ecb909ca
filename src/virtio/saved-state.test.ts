import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { openState, StateError, sealState } from './saved-state.js';
import { StateFields } from './state-fields.js';
import { decodeValue, encodeValue } from './value-codec.js';

const values = fc.anything({
  withBigInt: true,
  withMap: true,
  withSet: true,
  withNullPrototype: false,
  withObjectString: true,
  maxDepth: 5,
});

test('a value goes through bytes and is the same', () => {
  fc.assert(
    fc.property(values, (value) => {
      assert.deepEqual(decodeValue(encodeValue(value)), value);
      assert.deepEqual(openState(sealState(value)), value);
    }),
  );
  // However much comes before it.
  for (let length = 200; length < 600; length++) {
    const text = ['x'.repeat(length), true];
    assert.deepEqual(decodeValue(encodeValue(text)), text);
  }
  const bytes = Uint8Array.of(1, 2, 3);
  const back = decodeValue(encodeValue({ bytes })) as { bytes: Uint8Array };
  assert.deepEqual(back.bytes, bytes);
  assert.notEqual(back.bytes, bytes);
});

test('what has no bytes is named with its place', () => {
  class Chain {}
  for (const [value, text] of [
    [() => 1, 'the state is a function, which has no bytes'],
    [{ kept: [1, new Chain()] }, 'the state.kept[1] is a Chain, which has no bytes'],
    [new Map([['a', Symbol()]]), 'the state.get(a) is a symbol, which has no bytes'],
    [new Date(), 'the state is a Date, which has no bytes'],
  ] as const) {
    assert.throws(() => sealState(value), { name: 'TypeError', message: text });
  }
  const round: unknown[] = [];
  round.push(round);
  assert.throws(() => sealState(round), /more than 100 values deep/);
});

test('no damage is believed', () => {
  const state = sealState({ a: [1, 'two', 3n], b: Uint8Array.of(4) });
  fc.assert(
    fc.property(fc.nat(state.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
      const damaged = state.slice();
      damaged[at]! ^= change;
      assert.throws(() => openState(damaged), StateError);
    }),
  );
  for (let length = 0; length < state.length; length++) {
    assert.throws(() => openState(state.subarray(0, length)), StateError);
  }
  assert.throws(() => openState(new Uint8Array([...state, 0])), /has \d+ bytes of \d+/);
  const newer = state.slice();
  newer[4] = 2;
  assert.throws(() => openState(newer), /is of version 2, this is 1/);
});

test('any bytes are a value or a RangeError, and no small message is a large value', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        decodeValue(bytes);
      } catch (error) {
        assert.ok(error instanceof RangeError, String(error));
      }
    }),
    { numRuns: 2000 },
  );
  assert.throws(() => decodeValue(Uint8Array.of(8, 255, 255, 255, 255)), /4294967295 values in 0 bytes/);
  assert.throws(() => decodeValue(new Uint8Array(3000).fill(8)), RangeError);
  const deep = Uint8Array.from({ length: 5 * 200 + 1 }, (_, i) => (i % 5 === 0 ? 8 : i % 5 === 1 ? 1 : 0));
  assert.throws(() => decodeValue(deep), /more than 100 values deep/);
  const named = decodeValue(encodeValue(JSON.parse('{"__proto__": {"x": 1}}'))) as object;
  assert.equal(Object.getPrototypeOf(named), Object.prototype);
});

test('fields are looked at before they are believed', () => {
  const fields = new StateFields({ n: 5, b: true, t: 'x', y: Uint8Array.of(1), l: [{}] }, 'the state');
  assert.deepEqual([fields.number('n', 5), fields.boolean('b'), fields.text('t')], [5, true, 'x']);
  assert.equal(fields.list('l', 1).length, 1);
  assert.throws(() => fields.number('n', 4), { message: "n of the state can't be as it is" });
  assert.throws(() => fields.number('toString', 4), StateError);
  assert.throws(() => fields.bytes('y', 2), StateError);
  assert.throws(() => fields.bigint('n'), StateError);
  assert.throws(() => fields.list('l', 2), StateError);
  assert.throws(() => fields.list('l', 1)[0]!.text('x'), {
    message: "x of l[0] of the state can't be as it is",
  });
  assert.throws(() => fields.part('n'), { message: 'n of the state is not there' });
});
