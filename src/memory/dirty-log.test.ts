import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { GuestAddress } from './address.js';
import { GuestMemory } from './guest-memory.js';
import { MappedView } from './mapped-view.js';

/** Memory of two regions with a gap and one that joins, and what was written since it is logged. */
function logged() {
  const memory = new GuestMemory();
  const bytes = new Uint8Array(0x400);
  for (const [start, length] of [
    [0x1000, 0x100],
    [0x1100, 0x80],
    [0x2000, 0x100],
  ] as const) {
    memory.add({
      start: start as GuestAddress,
      view: new MappedView(bytes.buffer, start === 0x2000 ? 0x200 : start - 0x1000, length),
    });
  }
  const marks: [number, number][] = [];
  memory.dirtyLog = { wrote: (address, length) => void marks.push([address, length]) };
  return { memory, bytes, marks };
}

test('each write to the memory and to a view of it is heard of, once it was made, and no read is', () => {
  const { memory, bytes, marks } = logged();
  memory.write(0x10f0 as GuestAddress, new Uint8Array(0x20).fill(7));
  // Across two regions.
  assert.deepEqual(marks.splice(0), [
    [0x10f0, 0x10],
    [0x1100, 0x10],
  ]);
  const view = memory.view(0x2010 as GuestAddress, 0x40).slice(0x10, 0x20);
  assert.equal(view.words, undefined, 'through words it would be written unheard');
  view.write16(0, 1);
  view.write32(4, 2);
  view.store16(8, 3);
  view.copyIn(12, Uint8Array.of(4, 5, 6), 1, 2);
  view.copyIn(12, Uint8Array.of(4, 5, 6), 1, 0);
  assert.deepEqual(marks.splice(0), [
    [0x2020, 2],
    [0x2024, 4],
    [0x2028, 2],
    [0x202c, 2],
  ]);
  assert.deepEqual([...bytes.subarray(0x220, 0x230)], [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 5, 6, 0, 0]);
  assert.deepEqual([view.read16(0), view.read32(4), view.load16(8)], [1, 2, 3]);
  const out = new Uint8Array(4);
  view.copyOut(11, out, 0, 4);
  memory.read(0x2020 as GuestAddress, out);
  assert.deepEqual(marks, []);
});

test('who takes a mark at the moment it is made finds the bytes there', () => {
  const { memory, bytes } = logged();
  const seen: number[] = [];
  memory.dirtyLog = { wrote: (address) => void seen.push(bytes[address - 0x1000]!) };
  memory.write(0x1000 as GuestAddress, Uint8Array.of(9));
  const view = memory.view(0x1000 as GuestAddress, 8);
  view.write16(0, 10);
  view.write32(0, 11);
  view.store16(0, 12);
  assert.deepEqual(seen, [9, 10, 11, 12]);
});

test('views from before it is logged, or not any more, are stale; regions that come later are logged too', () => {
  const { memory, marks } = logged();
  const before = memory.generation;
  const { dirtyLog } = memory;
  memory.dirtyLog = dirtyLog;
  assert.equal(memory.generation, before, 'nothing changed');
  memory.add({ start: 0x8000 as GuestAddress, view: new MappedView(new ArrayBuffer(16)) });
  memory.write(0x8000 as GuestAddress, Uint8Array.of(1));
  assert.deepEqual(marks.splice(0), [[0x8000, 1]]);
  const generation = memory.generation;
  memory.dirtyLog = undefined;
  assert.notEqual(memory.generation, generation);
  memory.write(0x8000 as GuestAddress, Uint8Array.of(1));
  assert.deepEqual(marks, []);
  assert.ok(memory.view(0x1000 as GuestAddress, 16).words instanceof Int32Array);
});

test('a region is given back as it was added, and one that can only be asked for is left as it is', () => {
  const { memory } = logged();
  const view = new MappedView(new ArrayBuffer(16));
  const remote = Object.assign(new MappedView(new ArrayBuffer(16)), { remote: true });
  memory.add({ start: 0x8000 as GuestAddress, view });
  memory.add({ start: 0x9000 as GuestAddress, view: remote });
  assert.equal(memory.regionOf(0x9000 as GuestAddress, 1)?.view, remote);
  assert.equal(memory.remove(0x8000 as GuestAddress, 16)[0]?.view, view);
});

test('whatever is written, just its bytes are marked', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(0x17f), fc.nat(0x40))), (writes) => {
      const { memory, marks } = logged();
      const expected = new Set<number>();
      for (const [offset, length] of writes) {
        const fits = Math.min(length, 0x180 - offset);
        memory.write((0x1000 + offset) as GuestAddress, new Uint8Array(fits));
        for (let i = 0; i < fits; i++) expected.add(0x1000 + offset + i);
      }
      const marked = new Set(
        marks.flatMap(([address, length]) => Array.from({ length }, (_, i) => address + i)),
      );
      assert.deepEqual(marked, expected);
    }),
  );
});
