import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SplitSample } from '../../protocol.js';
import type { Area } from './cell.js';
import { splitPicture } from './split-picture.js';

const NEXT = 1;
const WRITE = 2;

/** A ring of eight, of which the device has head 2 (2, 3), 4 (4, 5) waits, and 0 (0, 1) was handed back. */
function sample(more: Partial<SplitSample> = {}): SplitSample {
  return {
    connection: 1,
    queue: 0,
    time: 0,
    layout: 'split',
    size: 8,
    first: 0,
    entries: 8,
    descriptors: [0, 1, 2, 3, 4, 5, 6, 7].map((i) => [
      0x1000 * i,
      16,
      i % 2 ? WRITE : NEXT,
      i % 2 ? 0 : i + 1,
    ]),
    available: { flags: 0, index: 3, next: 2, ring: [0, 2, 4, 0, 0, 0, 0, 0], usedEvent: 0 },
    used: {
      flags: 0,
      index: 1,
      ring: [[0, 16], ...Array.from({ length: 7 }, () => [0, 0] as const)],
      availEvent: 2,
    },
    inFlight: [{ head: 2 }],
    inFlightCount: 1,
    waiting: 1,
    wants: { interrupts: true, kicks: true },
    ...more,
  };
}

function states({ cells }: Area): string {
  return cells.map(({ state }) => state[0]).join('');
}

test('2.7: whose each descriptor and each entry is', () => {
  const [descriptors, available, used] = splitPicture(sample(), undefined);
  assert.equal(states(descriptors!), 'uuttaaff');
  assert.equal(states(available!), 'ftafffff');
  assert.equal(states(used!), 'ufffffff');
});

test('2.7.5: chains are followed by their next field, and go on in the next cell where they do', () => {
  const [descriptors] = splitPicture(sample(), undefined);
  assert.deepEqual(
    descriptors!.cells.slice(0, 6).map(({ chain, joined }) => [chain, joined]),
    [
      [0, true],
      [0, false],
      [2, true],
      [2, false],
      [4, true],
      [4, false],
    ],
  );
  assert.equal(descriptors!.cells[3]!.writable, true);
  assert.match(descriptors!.cells[2]!.title, /^descriptor 2: 16 B at 0x2000, NEXT, next 3$/);
});

test('2.7.10: both indices and both event indices are marked where they point', () => {
  const [, available, used] = splitPicture(sample(), undefined);
  assert.deepEqual(
    available!.markers.map(({ slot, kind }) => [kind, slot]),
    [
      ['driver', 3],
      ['device', 2],
      ['event', 2],
    ],
  );
  assert.deepEqual(
    used!.markers.map(({ slot, kind }) => [kind, slot]),
    [
      ['device', 1],
      ['event', 0],
    ],
  );
  assert.deepEqual(
    available!.numbers.map(({ name, value }) => `${name} ${value}`),
    ['idx 3', 'device at 2', 'avail_event 2'],
  );
});

test('a chain that loops, or leaves the table, ends the walk and nothing else', () => {
  const descriptors = sample().descriptors.map((one, i) =>
    i === 3 ? ([0, 1, NEXT, 2] as const) : i === 5 ? ([0, 1, NEXT, 60_000] as const) : one,
  );
  const [table] = splitPicture(sample({ descriptors }), undefined);
  assert.equal(states(table!), 'uuttaaff');
});

test('indices wrap at 65536', () => {
  const ring = sample();
  const wrapped = { ...ring.available, index: 1, next: 0xffff, ring: [4, 0, 0, 0, 0, 0, 0, 6] };
  const [, available] = splitPicture(sample({ available: wrapped, inFlight: [] }), undefined);
  assert.equal(states(available!), 'affffffa');
});

test('a part of a large ring: what is outside of it is not drawn', () => {
  const part = sample({
    size: 1024,
    first: 1020,
    available: { flags: 0, index: 1026, next: 1022, ring: [0, 0, 1020, 1022, 0, 2, 0, 0] },
    used: { flags: 0, index: 0, ring: Array.from({ length: 8 }, () => [0, 0] as const) },
    inFlight: [],
  });
  const [descriptors, available] = splitPicture(part, undefined);
  assert.deepEqual(
    available!.cells.map(({ slot }) => slot),
    [1020, 1021, 1022, 1023, 0, 1, 2, 3],
  );
  assert.equal(states(available!), 'ffaaaaff');
  assert.equal(descriptors!.cells[0]!.state, 'available');
});
