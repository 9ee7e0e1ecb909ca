import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { GuestAddress } from './address.js';
import { JoinedView } from './joined-view.js';
import { MappedView } from './mapped-view.js';
import { isSuspension, MemoryError } from './memory-error.js';
import { ACCESS_READ, ACCESS_WRITE, TranslatedMemory } from './translated-memory.js';

const BOTH = ACCESS_READ | ACCESS_WRITE;
/** Two regions of targets, side by side in numbers and apart in memory. */
const REGION = 64;
const UNTRANSLATED = { name: 'MemoryError', code: 'UNTRANSLATED' };

function make() {
  const regions = [0, 1].map(
    (n) => new MappedView(Uint8Array.from({ length: REGION }, (_, i) => REGION * n + i).buffer),
  );
  const wanted: [number, number][] = [];
  const memory = new TranslatedMemory({
    resolve: (target, length) => {
      const n = Math.floor(target / REGION);
      const inside = target >= 0 && target % REGION >= 0 && (target % REGION) + length <= REGION;
      return inside && length > 0 ? regions[n]?.slice(target % REGION, length) : undefined;
    },
    wanted: (address, access) => void wanted.push([address, access]),
  });
  return { memory, wanted, regions };
}

const at = (address: number): GuestAddress => address as GuestAddress;

test('what is not translated is asked for when it is used, and not there until it is', () => {
  const { memory, wanted } = make();
  const byte = new Uint8Array(1);
  assert.ok(memory.covers(at(1000), 5000));
  assert.throws(() => memory.read(at(1000), byte), UNTRANSLATED);
  assert.throws(() => memory.write(at(1003), byte), UNTRANSLATED);
  assert.throws(() => memory.view(at(1000), 4), UNTRANSLATED);
  assert.deepEqual(wanted, [
    [1000, ACCESS_READ],
    [1003, ACCESS_WRITE],
  ]);
  assert.equal(memory.map(1000, 8, 10, BOTH), false);
  memory.read(at(1002), byte);
  assert.equal(byte[0], 12);
  assert.throws(() => memory.read(at(1004), new Uint8Array(8)), UNTRANSLATED);
  assert.deepEqual(wanted.at(-1), [1008, ACCESS_READ]);
  assert.ok(isSuspension(new MemoryError('UNTRANSLATED', 1, 1)));
  for (const address of [Number.NaN, -1, Number.MAX_SAFE_INTEGER]) assert.ok(!memory.covers(at(address), 2));
});

test('what may only be read is not written, and the other way round; more is added, less only after it was taken back', () => {
  const { memory, wanted } = make();
  const byte = new Uint8Array(1);
  memory.map(0, 16, 0, ACCESS_READ);
  memory.read(at(0), byte);
  assert.throws(() => memory.write(at(0), byte), UNTRANSLATED);
  assert.deepEqual(wanted, [[0, ACCESS_WRITE]]);
  assert.equal(memory.map(4, 4, 4, ACCESS_WRITE), true);
  memory.write(at(4), byte);
  memory.read(at(4), byte);
  assert.equal(memory.map(4, 4, 4, ACCESS_READ), false);
  memory.write(at(4), byte);
  assert.throws(() => memory.write(at(8), byte), UNTRANSLATED);
  memory.unmap(4, 4);
  memory.map(4, 4, 4, ACCESS_WRITE);
  assert.throws(() => memory.read(at(4), byte), UNTRANSLATED);
  assert.equal(memory.regionOf(at(4), 4), undefined);
  assert.ok(memory.regionOf(at(8), 4) !== undefined);
});

test('a target that is not there, or not in one piece, is refused and changes nothing', () => {
  const { memory } = make();
  memory.map(0, 16, 0, BOTH);
  for (const [start, length, target] of [
    [0, 16, REGION - 8],
    [0, 16, 2 * REGION],
    [4, 8, -4],
    [8, 200, 0],
  ] as const) {
    assert.equal(memory.map(start, length, target, BOTH), undefined);
  }
  assert.ok(memory.knows(0, 16, BOTH));
  assert.equal(memory.pieces, 1);
});

test('neighbours that are neighbours behind it too are one; a view over others is of pieces', () => {
  const { memory } = make();
  memory.map(16, 16, 16, BOTH);
  memory.map(0, 16, 0, BOTH);
  memory.map(32, 32, 32, BOTH);
  assert.equal(memory.pieces, 1);
  assert.ok(!(memory.view(at(0), 64) instanceof JoinedView));
  // Next to each other in numbers, and not in memory.
  memory.map(64, 16, 64, BOTH);
  memory.map(80, 16, 8, BOTH);
  assert.equal(memory.pieces, 3);
  const view = memory.view(at(60), 24);
  assert.ok(view instanceof JoinedView);
  const bytes = new Uint8Array(24);
  view.copyOut(0, bytes, 0, 24);
  assert.deepEqual(
    [...bytes],
    [60, 61, 62, 63, ...Array.from({ length: 16 }, (_, i) => 64 + i), 8, 9, 10, 11],
  );
  assert.deepEqual(
    [view.read16(3), view.read32(2), view.load16(2)],
    [63 | (64 << 8), 0x41403f3e, 62 | (63 << 8)],
  );
  assert.throws(() => view.load16(3), RangeError);
  assert.equal(view.loadWord(4), 0x43424140);
  assert.throws(() => view.loadWord(2), RangeError);
  assert.throws(() => view.read16(23), RangeError);
  view.write32(18, 0x44332211);
  view.store16(4, 0x6655);
  assert.equal(view.slice(18, 4).read32(0), 0x44332211);
  assert.deepEqual([view.slice(4, 2).length, view.slice(4, 2).read16(0)], [2, 0x6655]);
});

test('when what targets are has changed, translations to what is gone are forgotten', () => {
  const { memory, regions } = make();
  memory.map(0, 16, 0, BOTH);
  memory.map(100, 16, REGION, BOTH);
  const { generation } = memory;
  assert.equal(memory.resolveAgain(), false);
  assert.notEqual(memory.generation, generation);
  regions.pop();
  assert.equal(memory.resolveAgain(), true);
  assert.ok(memory.knows(0, 16, BOTH));
  assert.ok(!memory.knows(100, 1, BOTH));
});

test('as many are kept as there can be; then all are forgotten once, unless nothing came of them', () => {
  const { memory } = make();
  const map = (n: number) => memory.map(2 * n, 1, n % REGION, BOTH);
  for (let n = 0; n < 16_384; n++) assert.equal(map(n), false);
  assert.equal(map(16_384), true);
  assert.equal(memory.pieces, 1);
  for (let n = 0; n < 16_383; n++) map(n);
  assert.equal(map(20_000), undefined);
  assert.equal(memory.pieces, 16_384);
  memory.served();
  assert.equal(map(20_000), true);
});

test('whatever is said, each byte is what was said of it last', () => {
  const range = fc.record({ start: fc.nat(40), length: fc.integer({ min: 1, max: 24 }) });
  const step = fc.record({
    range,
    target: fc.option(fc.nat(2 * REGION - 1)),
    access: fc.integer({ min: 1, max: 3 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const { memory } = make();
      const model = new Map<number, { target: number; access: number }>();
      for (const { range: said, target, access } of steps) {
        const { start, length } = said;
        if (target === null) {
          memory.unmap(start, length);
          for (let i = 0; i < length; i++) model.delete(start + i);
          continue;
        }
        if (memory.map(start, length, target, access) === undefined) continue;
        const all = Array.from({ length }, (_, i) => model.get(start + i));
        // Permissions are added where the same is said of all of it, in one piece of the same kind.
        const first = all[0];
        const same = all.every(
          (one, i) => one !== undefined && one.target === target + i && one.access === first!.access,
        );
        const now = same ? first!.access | access : access;
        for (let i = 0; i < length; i++) model.set(start + i, { target: target + i, access: now });
      }
      for (let address = 0; address < 80; address++) {
        const known = model.get(address);
        for (const access of [ACCESS_READ, ACCESS_WRITE]) {
          assert.equal(memory.knows(address, 1, access), ((known?.access ?? 0) & access) !== 0);
        }
        if (((known?.access ?? 0) & ACCESS_READ) === 0) continue;
        const byte = new Uint8Array(1);
        memory.read(at(address), byte);
        assert.equal(byte[0], known!.target);
      }
    }),
    { numRuns: 500 },
  );
});
