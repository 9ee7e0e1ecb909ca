import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { around, ticks, zoomed } from './time-window.js';

const window = fc.record({
  from: fc.double({ min: 0, max: 1e13, noNaN: true }),
  span: fc.double({ min: 1e3, max: 1e13, noNaN: true }),
});

test('what is pointed at stays where it is while one zooms', () => {
  fc.assert(
    fc.property(
      window,
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.constantFrom(0.5, 0.9, 2, 10),
      (seen, part, factor) => {
        const at = seen.from + part * seen.span;
        const next = zoomed(seen, at, factor);
        assert.ok(Math.abs((at - next.from) / next.span - part) < 1e-6 + 1 / next.span);
      },
    ),
  );
});

test('no closer than 500 ns', () => {
  assert.equal(zoomed({ from: 0, span: 600 }, 300, 0.001).span, 500);
  assert.equal(around(7, 7).span, 500);
});

test('round moments, not many, all inside', () => {
  fc.assert(
    fc.property(window, ({ from, span }) => {
      const { step, at } = ticks({ from, span }, 6);
      assert.ok(at.length <= 7);
      assert.ok(
        [1, 2, 5].some((digit) => Math.abs(step / 10 ** Math.floor(Math.log10(step) + 1e-9) - digit) < 1e-6),
      );
      for (const time of at) assert.ok(time >= from - step * 1e-6 && time <= from + span + step * 1e-6);
    }),
  );
});
