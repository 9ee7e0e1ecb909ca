import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { PageRange } from '../feature-codec.js';
import { bitmapSize, DirtyPages } from './dirty-pages.js';

const PAGE = 4096;

function range(address: number, length: number, pageSize: number = PAGE): PageRange {
  return { address: address as PageRange['address'], length, pageSize };
}

/** The bits that are set. */
function bitsOf(bitmap: Uint8Array): number[] {
  return [...bitmap].flatMap((byte, i) =>
    [0, 1, 2, 3, 4, 5, 6, 7].filter((bit) => ((byte >> bit) & 1) === 1).map((bit) => 8 * i + bit),
  );
}

test('a write marks each page that has a byte of it: at the edges too, and across pieces of the bitmap', () => {
  const log = new DirtyPages();
  const edge = 128 * 2 ** 20;
  for (const [address, length, pages] of [
    [0, 1, [0]],
    [PAGE - 1, 1, [0]],
    [PAGE - 1, 2, [0, 1]],
    [PAGE, PAGE, [1]],
    [PAGE, PAGE + 1, [1, 2]],
    [2 * PAGE - 1, 2 * PAGE + 2, [1, 2, 3, 4]],
  ] as const) {
    log.wrote(address, length);
    assert.deepEqual(bitsOf(log.take(range(0, 64 * PAGE))), pages, `${length} bytes at ${address}`);
    assert.deepEqual(bitsOf(log.take(range(0, 64 * PAGE))), [], 'clean');
  }
  log.wrote(edge - 1, 2);
  assert.deepEqual(bitsOf(log.take(range(edge - PAGE, 2 * PAGE))), [0, 1]);
  const high = 2 ** 48;
  log.wrote(high + 5 * PAGE, 1);
  assert.deepEqual(bitsOf(log.take(range(high, 8 * PAGE))), [5]);
});

test('against a set: writes, reports of any page size and range, and ranges that go', () => {
  const step = fc.oneof(
    fc.record({
      kind: fc.constant('write' as const),
      at: fc.nat(40 * PAGE),
      length: fc.integer({ min: 1, max: 3 * PAGE }),
    }),
    fc.record({
      kind: fc.constant('take' as const),
      at: fc.nat(10).map((n) => n * 4 * PAGE),
      length: fc.integer({ min: 1, max: 40 * PAGE }),
      pageSize: fc.constantFrom(512, 1024, PAGE, 2 * PAGE, 4 * PAGE),
    }),
    fc.record({ kind: fc.constant('forget' as const), at: fc.nat(40 * PAGE), length: fc.nat(20 * PAGE) }),
  );
  const base = 128 * 2 ** 20 - 20 * PAGE;
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const log = new DirtyPages();
      const model = new Set<number>();
      for (const one of steps) {
        const from = one.at;
        const to = one.at + one.length;
        if (one.kind === 'write') {
          log.wrote(base + from, one.length);
          for (let page = Math.floor(from / PAGE); page * PAGE < to; page++) model.add(page);
        } else if (one.kind === 'forget') {
          log.forget(base + from, one.length);
          for (const page of model) if (page * PAGE >= from && (page + 1) * PAGE <= to) model.delete(page);
        } else {
          const expected = new Set<number>();
          for (const page of model) {
            const [first, end] = [Math.max(from, page * PAGE), Math.min(to, (page + 1) * PAGE)];
            if (first >= end) continue;
            model.delete(page);
            for (let at = first; at < end; at++) expected.add(Math.floor((at - from) / one.pageSize));
          }
          const bitmap = log.take(range(base + from, one.length, one.pageSize));
          assert.equal(bitmap.length % 8, 0);
          assert.deepEqual(new Set(bitsOf(bitmap)), expected);
        }
      }
    }),
    { numRuns: 60 },
  );
});

test('ranges and pages that can not be are named', () => {
  for (const [wrong, text] of [
    [range(0, PAGE, 0), /pages of 0 bytes, which is no power of two/],
    [range(0, PAGE, 3000), /no power of two/],
    [range(0, PAGE, Number.NaN), /no power of two/],
    [range(0, 0), /0 bytes at 0 can't be/],
    [range(0, Number.NaN), /can't be/],
    [range(Number.NaN, PAGE), /can't be/],
    [range(2 ** 53 - PAGE, 2 * PAGE), /can't be/],
    [range(1024, PAGE, 1024), /no multiple of 4096/],
    [range(PAGE, 4 * PAGE, 2 * PAGE), /no multiple of 8192/],
    [range(0, 2 ** 43), /a bitmap of 268435456 bytes, more than 1048576/],
  ] as const) {
    assert.throws(() => bitmapSize(wrong), { name: 'VfioUserError', code: 'EINVAL', message: text });
  }
  assert.equal(bitmapSize(range(0, 65 * PAGE)), 16);
});
