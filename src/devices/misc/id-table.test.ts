import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { IdTable } from './id-table.js';

/** With this secret all small ids lie at the table's beginning. */
const COLLIDING = new Int32Array([0, 1, 1]);

const int32 = fc.oneof(fc.nat(30), fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }));
const call = fc.oneof(
  fc.record({ do: fc.constant('add' as const), id: int32, number: fc.constantFrom(1, -1, 2 ** 31 - 1, 7) }),
  fc.record({ do: fc.constant('delete' as const), id: int32 }),
  fc.record({
    do: fc.constant('many' as const),
    from: int32,
    count: fc.nat(60),
    step: fc.constantFrom(1, 7, 8, 4096),
  }),
  fc.record({
    do: fc.constant('deleteMany' as const),
    from: int32,
    count: fc.nat(60),
    step: fc.constantFrom(1, 8),
  }),
  fc.record({ do: fc.constant('clear' as const) }),
);

for (const [what, secret] of [
  ['wherever ids lie', undefined],
  ['when all ids collide', COLLIDING],
] as const) {
  test(`any sequence of calls does what a Map does, ${what}`, () => {
    fc.assert(
      fc.property(fc.array(call, { maxLength: 20 }), (calls) => {
        const table = secret === undefined ? new IdTable() : new IdTable(secret);
        const model = new Map<number, number>();
        const add = (id: number, number: number): void => {
          assert.equal(table.add(id, number), !model.has(id));
          if (!model.has(id)) model.set(id, number);
        };
        for (const c of calls) {
          if (c.do === 'add') add(c.id, c.number);
          else if (c.do === 'delete') assert.equal(table.delete(c.id), model.delete(c.id));
          else if (c.do === 'many') {
            for (let i = 0; i < c.count; i++) add((c.from + i * c.step) | 0, i + 1);
          } else if (c.do === 'deleteMany') {
            for (let i = 0; i < c.count; i++) {
              const each: number = (c.from + i * c.step) | 0;
              assert.equal(table.delete(each), model.delete(each));
            }
          } else {
            table.clear();
            model.clear();
          }
          assert.equal(table.size, model.size);
        }
        for (const [id, number] of model) {
          assert.equal(table.get(id), number);
          assert.equal(table.numberAt(table.find(id)), number);
        }
        for (let id = -5; id < 50; id++) assert.equal(table.get(id), model.get(id) ?? 0);
      }),
      { numRuns: 100 },
    );
  });
}

test('memory is given back when few ids are left, but for what is kept', () => {
  const table = new IdTable();
  for (let id = 0; id < 100_000; id++) table.add(id, 1);
  const most = table.bytes;
  assert.equal(table.hasSpare, false);
  for (let id = 10; id < 100_000; id++) table.delete(id);
  assert.equal(table.hasSpare, true);
  table.trim();
  assert.equal(table.hasSpare, false);
  assert.ok(table.bytes <= most / 8, `${table.bytes} of ${most}`);
  for (let id = 0; id < 10; id++) assert.equal(table.get(id), 1);
});

test('where an id lies is another place in another table', () => {
  const places = new Set<number>();
  for (let i = 0; i < 20; i++) {
    const table = new IdTable();
    for (let id = 0; id < 400; id += 8) table.add(id, 1);
    places.add(table.find(0));
  }
  assert.ok(places.size > 3, [...places].join());
});

test('ids that were chosen to collide with one secret do not with another', () => {
  const chosen = Array.from({ length: 1000 }, (_, i) => 512 * i);
  const spread = (table: IdTable): number => {
    for (const id of chosen) table.add(id, 1);
    return new Set(chosen.map((id) => table.find(id) >> 6)).size;
  };
  assert.ok(spread(new IdTable(COLLIDING)) < 20);
  assert.ok(spread(new IdTable()) > 25);
});
