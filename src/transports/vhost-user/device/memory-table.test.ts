import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { FrontendAddress, GuestAddress } from '../../../memory/address.js';
import { FakeOs } from '../../testing/fake-os.js';
import type { RegionDescription } from '../payloads.js';
import { MAX_MEM_SLOTS, MemoryTable } from './memory-table.js';

const PAGE = 4096;

function region(guest: number, size: number, user: number, mmapOffset = 0): RegionDescription {
  return { guestAddress: guest as GuestAddress, size, userAddress: user as FrontendAddress, mmapOffset };
}

function user(address: number): FrontendAddress {
  return address as FrontendAddress;
}

/** A descriptor of a file of that many pages, each filled with its number plus `seed`. */
function file(os: FakeOs, pages: number, seed = 0): number {
  const { fd, mapping } = os.createMemory('test', pages * PAGE);
  for (let page = 0; page < pages; page++) {
    mapping.view.copyIn(page * PAGE, new Uint8Array(PAGE).fill(seed + page), 0, PAGE);
  }
  mapping.release();
  return fd;
}

function byteAt(table: MemoryTable, address: number): number {
  const byte = new Uint8Array(1);
  table.memory.read(address as GuestAddress, byte);
  return byte[0]!;
}

test('a connection may share so much and no more, at once or region by region, and is told so', () => {
  const os = new FakeOs();
  const table = new MemoryTable(os, 3 * PAGE);
  const says = /^16384 bytes of memory in all, where a connection may share 12288 \(--max-memory\)$/;
  table.add(region(0, 2 * PAGE, 0x7000_0000), file(os, 2));
  assert.throws(() => table.add(region(2 * PAGE, 2 * PAGE, 0x9000_0000), file(os, 2)), { message: says });
  table.add(region(2 * PAGE, PAGE, 0x9000_0000), file(os, 1));
  const two = [region(0, 2 * PAGE, 0x7000_0000), region(2 * PAGE, 2 * PAGE, 0x9000_0000)];
  assert.throws(() => table.replace(two, [file(os, 2), file(os, 2)]), { message: says });
  assert.equal(table.memory.regions.length, 2, 'those that were there stay');
  table.remove(region(0, 2 * PAGE, 0x7000_0000));
  table.add(region(0, 2 * PAGE, 0x7000_0000), file(os, 2));
  table.close();
  const generous = new MemoryTable(os);
  const huge = region(0, 2 ** 42 + PAGE, 0x7000_0000);
  assert.throws(() => generous.add(huge, file(os, 1)), { message: /may share 4398046511104/ });
  assert.deepEqual([os.openFds, os.openMappings], [0, 0]);
});

test('SET_MEM_TABLE: each region shows its part of its file, and all descriptors are closed', () => {
  const os = new FakeOs();
  const table = new MemoryTable(os);
  table.replace(
    [region(0, 2 * PAGE, 0x7000_0000), region(0x10_0000, PAGE, 0x9000_0000, 2 * PAGE)],
    [file(os, 2, 10), file(os, 3, 20)],
  );
  assert.equal(os.openFds, 0);
  assert.equal(byteAt(table, PAGE), 11);
  assert.equal(byteAt(table, 0x10_0000), 22);
  table.close();
  assert.equal(os.openMappings, 0);
});

test('SET_MEM_TABLE: a table replaces the one before, all or nothing', () => {
  const os = new FakeOs();
  const table = new MemoryTable(os);
  table.replace([region(0, PAGE, 0x1000)], [file(os, 1, 1)]);
  const generation = table.memory.generation;

  // The second region is larger than its file.
  const bad = [region(0, PAGE, 0x1000), region(0x8000, 2 * PAGE, 0x8000), region(0x2_0000, PAGE, 0x2_0000)];
  assert.throws(() => table.replace(bad, [file(os, 1, 5), file(os, 1, 6), file(os, 1, 7)]), {
    code: 'ERANGE',
  });
  assert.equal(byteAt(table, 0), 1);
  assert.equal(table.memory.generation, generation);
  assert.equal(os.openFds, 0);
  assert.equal(os.openMappings, 1);

  table.replace([region(0x5000, PAGE, 0x1000)], [file(os, 1, 9)]);
  assert.throws(() => byteAt(table, 0), { code: 'UNMAPPED' });
  assert.equal(byteAt(table, 0x5000), 9);
  assert.equal(os.openMappings, 1);
  table.close();
});

test('SET_MEM_TABLE: regions that overlap, in the guest or in the front-end, are refused', () => {
  const os = new FakeOs();
  const table = new MemoryTable(os);
  for (const [a, b] of [
    [region(0, 2 * PAGE, 0x10_0000), region(PAGE, PAGE, 0x20_0000)],
    [region(0, 2 * PAGE, 0x10_0000), region(0x8000, PAGE, 0x10_1fff)],
    [region(0, PAGE, 0x10_0000), region(0, PAGE, 0x10_0000)],
  ] as const) {
    assert.throws(() => table.replace([a, b], [file(os, 2), file(os, 2)]), /overlaps/);
    assert.equal(os.openFds, 0);
    assert.equal(os.openMappings, 0);
  }
});

test('a region that can not be is refused', () => {
  const os = new FakeOs();
  const table = new MemoryTable(os);
  const top = Number.MAX_SAFE_INTEGER;
  for (const bad of [
    region(0, 0, 0),
    region(0, Number.NaN, 0),
    region(Number.NaN, PAGE, 0),
    region(0, PAGE, Number.NaN),
    region(0, PAGE, 0, Number.NaN),
    region(top - 4095, 2 * PAGE, 0),
    region(0, PAGE, top - 100),
    region(0, PAGE, 0, top - 4095),
    region(2, PAGE, 0),
    region(0, PAGE, 0, 512),
  ]) {
    assert.throws(() => table.add(bad, file(os, 1)), { name: 'Refusal' });
    assert.throws(() => table.replace([bad], [file(os, 1)]), { name: 'Refusal' });
    assert.equal(os.openFds, 0);
  }
  assert.equal(os.openMappings, 0);
});

test('ADD_MEM_REG: the same region twice is refused, and REM_MEM_REG wants the right one', () => {
  const os = new FakeOs();
  const table = new MemoryTable(os);
  table.add(region(0, PAGE, 0x1000), file(os, 1, 3));
  assert.throws(() => table.add(region(0, PAGE, 0x1000), file(os, 1, 4)), /overlaps/);
  assert.throws(() => table.remove(region(0, 2 * PAGE, 0x1000)), /no region/);
  assert.throws(() => table.remove(region(0, PAGE, 0x2000)), /no region/);
  assert.throws(() => table.remove(region(PAGE, PAGE, 0x1000)), /no region/);
  assert.equal(byteAt(table, 0), 3);
  // The offset is ignored, as the specification has it.
  table.remove(region(0, PAGE, 0x1000, 4 * PAGE));
  assert.throws(() => byteAt(table, 0), { code: 'UNMAPPED' });
  assert.equal(os.openMappings, 0);
  assert.equal(os.openFds, 0);
});

test('GET_MAX_MEM_SLOTS: as many regions as that can be added, and not one more', () => {
  const os = new FakeOs();
  const table = new MemoryTable(os);
  const nth = (i: number): RegionDescription => region(i * PAGE, PAGE, i * PAGE);
  for (let i = 0; i < MAX_MEM_SLOTS; i++) table.add(nth(i), file(os, 1, i % 256));
  assert.throws(() => table.add(nth(MAX_MEM_SLOTS), file(os, 1)), /509 regions/);
  assert.equal(byteAt(table, 300 * PAGE), 300 % 256);
  table.remove(nth(300));
  table.add(nth(MAX_MEM_SLOTS), file(os, 1));
  assert.equal(os.openMappings, MAX_MEM_SLOTS);
  assert.equal(os.openFds, 0);
});

test('an address of the front-end is translated when it and all its bytes are in one region', () => {
  const os = new FakeOs();
  const table = new MemoryTable(os);
  table.add(region(0x10_0000, 2 * PAGE, 0x7f00_0000_0000), file(os, 2));
  table.add(region(0x20_0000, PAGE, 0x7f00_0000_2000), file(os, 1));
  assert.equal(table.translate(user(0x7f00_0000_0000), 1), 0x10_0000);
  assert.equal(table.translate(user(0x7f00_0000_1ff0), 16), 0x10_1ff0);
  assert.equal(table.translate(user(0x7f00_0000_2000), PAGE), 0x20_0000);
  for (const [address, length] of [
    [0x7f00_0000_1ff0, 17],
    [0x7eff_ffff_ffff, 1],
    [0x7f00_0000_3000, 1],
    [0x10_0000, 1],
    [Number.NaN, 1],
  ] as const) {
    assert.throws(() => table.translate(user(address), length), { name: 'Refusal' });
  }
});

test('whatever the regions are, no descriptor and no mapping stays behind', () => {
  const number = fc.oneof(
    fc.integer({ min: 0, max: 6 }).map((n) => n * PAGE),
    fc.constantFrom(1, Number.NaN, Number.MAX_SAFE_INTEGER, 2 ** 52),
  );
  const anyRegion = fc.tuple(number, number, number, number).map((fields) => region(...fields));
  const step = fc.oneof(
    fc.record({ kind: fc.constant('add' as const), regions: anyRegion.map((r) => [r]) }),
    fc.record({ kind: fc.constant('remove' as const), regions: anyRegion.map((r) => [r]) }),
    fc.record({ kind: fc.constant('replace' as const), regions: fc.array(anyRegion, { maxLength: 4 }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
      const os = new FakeOs();
      const table = new MemoryTable(os);
      for (const { kind, regions } of steps) {
        try {
          if (kind === 'remove') table.remove(regions[0]!);
          else if (kind === 'add') table.add(regions[0]!, file(os, 4));
          else
            table.replace(
              regions,
              regions.map((_, i) => (i === 2 ? os.createOther() : file(os, 4))),
            );
        } catch (error) {
          assert.ok(error instanceof Error && ['Refusal', 'OsError'].includes(error.name), String(error));
        }
        assert.equal(os.openFds, 0);
        assert.equal(os.openMappings, table.memory.regions.length);
      }
      table.close();
      assert.equal(os.openMappings, 0);
    }),
  );
});
