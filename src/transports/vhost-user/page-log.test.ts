import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LoggedView } from '../../memory/logged-view.js';
import { MappedView } from '../../memory/mapped-view.js';
import type { MemoryView } from '../../memory/memory-view.js';
import { LOG_PAGE, PageLog } from './page-log.js';

const anyWrite = fc.record({
  address: fc.oneof(
    fc.nat(64 * LOG_PAGE),
    fc.nat(64).map((page) => page * LOG_PAGE + LOG_PAGE - 1),
  ),
  length: fc.oneof(fc.nat(3), fc.nat(20 * LOG_PAGE)),
});

test('vhost-user Migration: each page that was written has its bit, page % 8 of byte page / 8, and no other has', () => {
  fc.assert(
    fc.property(fc.array(anyWrite, { maxLength: 10 }), (writes) => {
      const bytes = new Uint8Array(8);
      const log = new PageLog(new MappedView(bytes.buffer));
      const model = new Set<number>();
      for (const { address, length } of writes) {
        log.wrote(address, length);
        for (let page = 0; page < 64; page++) {
          const [start, end] = [page * LOG_PAGE, (page + 1) * LOG_PAGE];
          if (length > 0 && address < end && start < address + length) model.add(page);
        }
      }
      for (let page = 0; page < 64; page++) {
        const marked = (bytes[page >> 3]! & (1 << (page & 7))) !== 0;
        assert.equal(marked, model.has(page), `page ${page}`);
      }
      assert.deepEqual(
        log.take(),
        [...model].sort((a, b) => a - b).map((page) => page * LOG_PAGE),
      );
      assert.deepEqual(log.take(), []);
    }),
  );
});

test('vhost-user Migration: one byte on each side of where a page begins', () => {
  const log = new PageLog(new MappedView(new ArrayBuffer(4)));
  for (const [address, length, pages] of [
    [LOG_PAGE - 1, 1, [0]],
    [LOG_PAGE - 1, 2, [0, 1]],
    [LOG_PAGE, 1, [1]],
    [8 * LOG_PAGE - 1, 2, [7, 8]],
    [LOG_PAGE, 0, []],
    [7 * LOG_PAGE, 10 * LOG_PAGE, [7, 8, 9, 10, 11, 12, 13, 14, 15, 16]],
  ] as const) {
    log.wrote(address, length);
    assert.deepEqual(
      log.take(),
      pages.map((page) => page * LOG_PAGE),
      `${address} + ${length}`,
    );
  }
});

test('what a log has no bit for is told once, and what it has one for is marked all the same', () => {
  const missed: number[][] = [];
  const bytes = new Uint8Array(3);
  // The third byte is not the log's.
  const log = new PageLog(new MappedView(bytes.buffer, 0, 2), {
    outside: (address, length) => missed.push([address, length]),
  });
  assert.equal(log.end, 16 * LOG_PAGE);
  log.wrote(15 * LOG_PAGE, 2 * LOG_PAGE);
  log.wrote(16 * LOG_PAGE, 1);
  log.wrote(Number.NaN, 1);
  log.wrote(2 ** 52, 8);
  assert.deepEqual(missed, [[15 * LOG_PAGE, 2 * LOG_PAGE]]);
  assert.deepEqual([...bytes], [0, 0x80, 0]);
});

test('a log tells that it was marked until it is told to be quiet, once each time', () => {
  let told = 0;
  const log = new PageLog(new MappedView(new ArrayBuffer(8)), { marked: () => told++ });
  log.wrote(0, 0);
  assert.equal(told, 0);
  log.wrote(0, 1);
  log.wrote(LOG_PAGE, 1);
  assert.equal(told, 1);
  log.quiet();
  log.wrote(0, 1);
  assert.equal(told, 2);
});

test('bits above 2^32 are where they belong', () => {
  const set: number[][] = [];
  const view = {
    length: 2 ** 33,
    setBits: (offset: number, bits: number) => void set.push([offset, bits]),
    takeByte: () => 0,
  };
  const log = new PageLog(view as unknown as MemoryView);
  log.wrote((2 ** 35 + 2) * LOG_PAGE, LOG_PAGE + 1);
  assert.deepEqual(set, [[2 ** 32, 0b1100]]);
});

test('memory that is not shared is no log', () => {
  const view = new LoggedView(
    new MappedView(new ArrayBuffer(8)),
    0,
    new PageLog(new MappedView(new ArrayBuffer(8))),
  );
  assert.throws(() => new PageLog(view), TypeError);
});
