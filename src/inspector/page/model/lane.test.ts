import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ChainItem } from '../../protocol.js';
import { beginOf, endOf, Lane } from './lane.js';

function chain(id: number, time: number, used: number, more: Partial<ChainItem> = {}): ChainItem {
  const where = { connection: 1, queue: 0 };
  return {
    type: 'chain',
    id,
    time,
    taken: time,
    used,
    ...where,
    chain: id,
    head: 0,
    readable: 0,
    writable: 0,
    text: '',
    ...more,
  };
}

function seen(lane: Lane, from: number, to: number): number[] {
  const ids: number[] = [];
  lane.within(from, to, ({ item }) => ids.push(item.id));
  return ids;
}

test('requests that are told of when they end are in the order in which they began', () => {
  const lane = new Lane(1, 0);
  lane.put(chain(2, 20, 25));
  lane.put(chain(3, 30, 35));
  lane.put(chain(1, 10, 500));
  assert.deepEqual(seen(lane, 0, 1000), [1, 2, 3]);
  assert.deepEqual(seen(lane, 100, 200), [1], 'one that is under way, too');
  assert.deepEqual(seen(lane, 501, 1000), []);
});

test('one that is told of again takes the place of what was told', () => {
  const lane = new Lane(1, 0);
  lane.put(chain(1, 10, 20));
  lane.put(chain(1, 10, 20, { interrupt: 30 }));
  assert.equal(lane.items.length, 1);
  assert.equal((lane.find(1) as ChainItem).interrupt, 30);
  assert.equal(lane.find(2), undefined);
});

test('one waits in the ring before it is taken: it is seen there', () => {
  const lane = new Lane(1, 0);
  lane.put(chain(1, 1000, 1010, { available: 10 }));
  assert.deepEqual(seen(lane, 100, 200), [1]);
});

test('from one request to the next, over what is none', () => {
  const lane = new Lane(1, 0);
  lane.put(chain(1, 10, 20));
  lane.put({ type: 'kick', id: 2, time: 21, connection: 1, queue: 0 });
  lane.put(chain(3, 30, 40));
  assert.equal(lane.neighbour({ id: 1 }, 1)?.id, 3);
  assert.equal(lane.neighbour({ id: 3 }, -1)?.id, 1);
  assert.equal(lane.neighbour({ id: 3 }, 1), undefined);
  assert.equal(lane.neighbour({ time: 25 }, 1)?.id, 3);
  assert.equal(lane.neighbour({ time: 25 }, -1)?.id, 1);
});

test('one that the device still has is seen whenever it was taken, until its ring is taken away', () => {
  const lane = new Lane(1, 0);
  const { used: _, ...open } = chain(1, 10, 0);
  lane.put(open);
  for (let id = 2; id < 50; id++) lane.put(chain(id, 10 * id, 10 * id + 1));
  assert.deepEqual(seen(lane, 480, 485), [1, 48]);
  lane.put({ type: 'event', what: 'queue-stopped', text: '', id: 50, time: 600, connection: 1, queue: 0 });
  assert.deepEqual(seen(lane, 590, 595), [1]);
  assert.deepEqual(seen(lane, 601, 700), []);
});

test('what is drawn in one row never overlaps, however late one hears of an end', () => {
  const part = fc.record({ begin: fc.nat(500), wait: fc.nat(40), device: fc.nat(90), late: fc.nat(60) });
  fc.assert(
    fc.property(fc.array(part, { maxLength: 60 }), (parts) => {
      const lane = new Lane(1, 0);
      const told: { at: number; item: ChainItem }[] = [];
      parts
        .sort((a, b) => a.begin + a.wait - (b.begin + b.wait))
        .forEach(({ begin, wait, device, late }, i) => {
          const item = chain(i + 1, begin + wait, begin + wait + device, { available: begin });
          const { used: _, ...open } = item;
          told.push({ at: item.time, item: open }, { at: item.used! + late, item });
        });
      for (const { item } of told.sort((a, b) => a.at - b.at)) lane.put(item);
      const rows = Math.max(0, ...lane.items.map(({ row }) => row));
      for (let row = 0; row <= rows; row++) {
        const within = lane.items.filter((one) => one.row === row);
        const spans = within
          .map(({ item }) => [beginOf(item), endOf(item)] as const)
          .sort((a, b) => a[1] - b[1] || a[0] - b[0]);
        for (const [i, [begin]] of spans.entries()) assert.ok(i === 0 || begin >= spans[i - 1]![1]);
      }
    }),
  );
});

test('a lane begins with what it has itself, or where the server begins to have something', () => {
  const lane = new Lane(1, 0);
  assert.equal(lane.from, Number.NEGATIVE_INFINITY, 'nothing was forgotten');
  lane.keptFrom(500);
  assert.equal(lane.from, 500);
  lane.put({ type: 'kick', id: 1, time: 200, connection: 1, queue: 0 });
  assert.equal(lane.from, 200, 'the page has more than the server');
});
