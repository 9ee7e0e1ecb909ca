import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { GuestAddress } from './address.js';
import { GuestMemory } from './guest-memory.js';
import { MappedView } from './mapped-view.js';
import { MemoryError } from './memory-error.js';

const at = (address: number) => address as GuestAddress;
const region = (start: number, length: number) => ({
  start: at(start),
  view: new MappedView(new ArrayBuffer(length)),
});

function memoryOf(...regions: [start: number, length: number][]): GuestMemory {
  const memory = new GuestMemory();
  for (const [start, length] of regions) memory.add(region(start, length));
  return memory;
}

const failsWith = (code: string) => (error: unknown) => error instanceof MemoryError && error.code === code;
const NOWHERE = [Number.NaN, -1, -(2 ** 40), 0xfff, 0x3000, 2 ** 53 - 1, 2 ** 53, 2 ** 64, Infinity].map(at);

test('a copy crosses from one region into the next', () => {
  const memory = memoryOf([0x2000, 0x1000], [0x1000, 0x1000]);
  memory.write(at(0x1ffe), Uint8Array.of(1, 2, 3, 4));
  const into = new Uint8Array(6);
  memory.read(at(0x1ffd), into);
  assert.deepEqual([...into], [0, 1, 2, 3, 4, 0]);
  assert.equal(memory.view(at(0x1ffe), 2).read16(0), 0x0201);
  assert.equal(memory.view(at(0x2000), 2).read16(0), 0x0403);
});

test('a copy goes through every region on its way', () => {
  const memory = memoryOf([0x1000, 0x10], [0x1010, 0x10], [0x1020, 0x10], [0x1030, 0x10]);
  const bytes = Uint8Array.from({ length: 0x34 }, (_, i) => i + 1);
  memory.write(at(0x1006), bytes);
  const into = new Uint8Array(0x40);
  memory.read(at(0x1000), into);
  assert.deepEqual([...into], [0, 0, 0, 0, 0, 0, ...bytes, 0, 0, 0, 0, 0, 0]);
});

test('only a part of the array is read or written', () => {
  const memory = memoryOf([0x1000, 0x1000]);
  memory.write(at(0x1000), Uint8Array.of(1, 2, 3, 4, 5), 1, 3);
  const into = new Uint8Array(5).fill(9);
  memory.read(at(0x1000), into, 1, 3);
  assert.deepEqual([...into], [9, 2, 3, 4, 9]);
  assert.throws(() => memory.read(at(0x1000), into, 3, 3), RangeError);
});

test('an address that is not there is refused, however odd', () => {
  const memory = memoryOf([0x1000, 0x1000], [0x2000, 0x1000]);
  for (const address of NOWHERE) {
    assert.equal(memory.covers(address, 1), false, String(address));
    assert.equal(memory.regionOf(address, 1), undefined, String(address));
    assert.throws(() => memory.view(address, 1), failsWith('UNMAPPED'), String(address));
    assert.throws(() => memory.read(address, new Uint8Array(1)), failsWith('UNMAPPED'), String(address));
    assert.throws(() => memory.write(address, new Uint8Array(1)), failsWith('UNMAPPED'), String(address));
  }
});

test('a range that ends outside is refused, and one that spans two regions is no view', () => {
  const memory = memoryOf([0x1000, 0x1000], [0x2000, 0x1000], [0x8000, 0x1000]);
  assert.equal(memory.covers(at(0x1000), 0x2000), true);
  assert.equal(memory.covers(at(0x1000), 0x2001), false);
  assert.equal(memory.covers(at(0x2fff), 0x5002), false, 'a hole between two regions');
  for (const [length, there] of [
    [0x1000, true],
    [0x1001, false],
  ] as const) {
    memory.read(at(0x2000), new Uint8Array(1));
    assert.equal(memory.covers(at(0x2000), length), there, 'in the region found last');
  }
  for (const length of [2 ** 32, 2 ** 53, Infinity, Number.NaN, -1]) {
    assert.equal(memory.covers(at(0x1000), length), false, String(length));
    assert.equal(memory.regionOf(at(0x1000), length), undefined, String(length));
    assert.throws(() => memory.view(at(0x1000), length), failsWith('UNMAPPED'), String(length));
  }
  assert.throws(() => memory.view(at(0x1fff), 2), failsWith('UNMAPPED'));
  assert.equal(memory.regionOf(at(0x1fff), 2), undefined);
  assert.equal(memory.view(at(0x1000), 0x1000).length, 0x1000);
  assert.equal(memory.regionOf(at(0x2fff), 1)?.start, 0x2000);
});

test('a copy that runs out of memory says where it was asked to go', () => {
  const memory = memoryOf([0x1000, 0x1000]);
  assert.throws(
    () => memory.write(at(0x1ffe), new Uint8Array(4)),
    (error) =>
      error instanceof MemoryError &&
      error.address === 0x1ffe &&
      error.length === 4 &&
      /0x1ffe \+ 4/.test(error.message),
  );
  assert.throws(() => memory.view(at(Number.NaN), 4), /above 2\^53 - 1/);
});

test('regions that overlap are refused, wherever they do', () => {
  const memory = memoryOf([0x2000, 0x1000], [0x4000, 0x1000]);
  for (const [start, length] of [
    [0x2000, 0x1000],
    [0x1fff, 2],
    [0x2fff, 1],
    [0x2800, 0x10],
    [0x1000, 0x8000],
  ] as const) {
    assert.throws(() => memory.add(region(start, length)), failsWith('OVERLAP'), start.toString(16));
  }
  assert.equal(memory.regions.length, 2);
  memory.add(region(0x3000, 0x1000));
  assert.deepEqual(
    memory.regions.map((r) => r.start),
    [0x2000, 0x3000, 0x4000],
  );
});

test('a region that can not be is refused', () => {
  const memory = new GuestMemory();
  for (const start of [Number.NaN, -1, -4096, 2 ** 53 - 1, 2 ** 53, Infinity, 0.5]) {
    assert.throws(() => memory.add(region(start, 16)), failsWith('OUT_OF_RANGE'), String(start));
  }
  assert.throws(() => memory.add(region(0x1000, 0)), failsWith('OUT_OF_RANGE'));
  assert.equal(memory.generation, 0);
});

test('regions go when they lie wholly in the range that is removed', () => {
  const memory = memoryOf([0x1000, 0x1000], [0x2000, 0x1000], [0x4000, 0x1000]);
  memory.read(at(0x2000), new Uint8Array(1));
  assert.deepEqual(memory.remove(at(0x2001), 0x1000), []);
  assert.deepEqual(memory.remove(at(Number.NaN), 0x1000), []);
  assert.deepEqual(
    memory.remove(at(0x1800), 0x2000).map((r) => r.start),
    [0x2000],
  );
  assert.equal(memory.covers(at(0x2000), 1), false, 'also not by the region found last');
  assert.equal(memory.covers(at(0x1000), 1), true);
  assert.deepEqual(
    memory.clear().map((r) => r.start),
    [0x1000, 0x4000],
  );
  assert.equal(memory.covers(at(0x1000), 1), false);
});

test('what is removed is what was added', () => {
  const memory = new GuestMemory();
  const added = { ...region(0x1000, 16), fd: 3 };
  memory.add(added);
  assert.equal(memory.regions[0], added);
  assert.equal(memory.remove(at(0), 2 ** 40)[0], added);
});

test('the generation grows with each change and with nothing else', () => {
  const memory = memoryOf([0x1000, 0x1000]);
  assert.equal(memory.generation, 1);
  assert.throws(() => memory.add(region(0x1000, 1)));
  memory.remove(at(0x1000), 1);
  memory.read(at(0x1000), new Uint8Array(1));
  assert.equal(memory.generation, 1);
  memory.remove(at(0x1000), 0x1000);
  memory.add(region(0x1000, 0x1000));
  memory.clear();
  assert.equal(memory.generation, 4);
});

test('any set of regions behaves as one long array of bytes with holes', () => {
  const layout = fc.array(fc.tuple(fc.nat(20), fc.integer({ min: 1, max: 40 })), {
    minLength: 1,
    maxLength: 8,
  });
  const range = fc.tuple(fc.nat(400), fc.nat(80));
  const copy = fc.tuple(fc.nat(1e6), fc.integer({ min: 1, max: 120 }));
  const use = fc.record({ layout, ranges: fc.array(range), copies: fc.array(copy) });
  fc.assert(
    fc.property(use, ({ layout, ranges, copies }) => {
      const memory = new GuestMemory();
      const model: (number | undefined)[] = new Array(500).fill(undefined);
      let end = 0;
      for (const [gap, length] of layout) {
        memory.add(region(end + gap, length));
        model.fill(0, end + gap, end + gap + length);
        end += gap + length;
      }
      for (const [seed, length] of copies) {
        const start = seed % (end + 1);
        const bytes = Uint8Array.from({ length }, (_, i) => seed + 31 * i);
        const there = !model.slice(start, start + length).includes(undefined);
        assert.equal(memory.covers(at(start), length), there);
        if (!there) continue;
        memory.write(at(start), bytes);
        for (const [i, byte] of bytes.entries()) model[start + i] = byte;
      }
      for (const [start, length] of ranges) {
        const expected = model.slice(start, start + length);
        if (length > 0) assert.equal(memory.covers(at(start), length), !expected.includes(undefined));
        const into = new Uint8Array(length);
        if (expected.includes(undefined))
          assert.throws(() => memory.read(at(start), into), failsWith('UNMAPPED'));
        else {
          memory.read(at(start), into);
          assert.deepEqual([...into], expected);
        }
      }
    }),
  );
});
