import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { GuestAddress } from './address.js';
import { GuestAllocator, type GuestBuffer } from './guest-allocator.js';

const START = 0x1_0000_0003 as GuestAddress;

test('a block has the alignment and the length that were asked for', () => {
  const allocator = new GuestAllocator(START, 4096);
  assert.deepEqual(allocator.alloc(5, 1), { address: START, length: 5 });
  assert.equal(allocator.alloc(1).address, 0x1_0000_0010);
  assert.equal(allocator.alloc(1, 256).address, 0x1_0000_0100);
  assert.equal(allocator.alloc(1).address, 0x1_0000_0020, 'what an alignment left free is used');
});

test('a range can be used up to its last byte, and again after it was freed', () => {
  const allocator = new GuestAllocator(START, 64);
  const whole = allocator.alloc(64, 1);
  assert.equal(allocator.available, 0);
  assert.throws(() => allocator.alloc(1, 1), RangeError);
  allocator.free(whole);
  assert.deepEqual(allocator.alloc(64, 1), whole);
});

test('what was not handed out can not be freed, and nothing twice', () => {
  const allocator = new GuestAllocator(START, 64);
  const block = allocator.alloc(8);
  assert.throws(() => allocator.free({ address: block.address, length: 4 }), TypeError);
  assert.throws(() => allocator.free({ address: START, length: 8 }), TypeError);
  allocator.free(block);
  assert.throws(() => allocator.free(block), TypeError);
  assert.equal(allocator.available, 64);
});

test('what can not be allocated is refused', () => {
  const allocator = new GuestAllocator(START, 64);
  for (const length of [0, -1, 65, 1.5, Number.NaN, Infinity]) {
    assert.throws(() => allocator.alloc(length, 1), RangeError, String(length));
  }
  for (const alignment of [0, 3, -2, 0.5, Number.NaN]) {
    assert.throws(() => allocator.alloc(1, alignment), RangeError, String(alignment));
  }
  assert.equal(allocator.available, 64);
  for (const length of [0, -1, Number.NaN, 2 ** 53]) {
    assert.throws(() => new GuestAllocator(START, length), RangeError, String(length));
  }
});

test('blocks never overlap, stay in the range, and all of it comes back', () => {
  const step = fc.oneof(
    fc.record({ length: fc.integer({ min: 1, max: 200 }), bits: fc.nat(7) }),
    fc.record({ free: fc.nat() }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
      const allocator = new GuestAllocator(START, 1500);
      const held: GuestBuffer[] = [];
      for (const now of steps) {
        if ('free' in now) {
          const [block] = held.splice(now.free % Math.max(held.length, 1), 1);
          if (block !== undefined) allocator.free(block);
          continue;
        }
        let block: GuestBuffer;
        try {
          block = allocator.alloc(now.length, 1 << now.bits);
        } catch (error) {
          assert.ok(error instanceof RangeError);
          continue;
        }
        const end = block.address + block.length;
        assert.equal(block.length, now.length);
        assert.equal(block.address % (1 << now.bits), 0);
        assert.ok(block.address >= START && end <= START + 1500);
        assert.ok(
          held.every((other) => other.address + other.length <= block.address || end <= other.address),
        );
        held.push(block);
        const taken = held.reduce((sum, { length }) => sum + length, 0);
        assert.equal(allocator.available, 1500 - taken);
      }
      for (const block of held) allocator.free(block);
      assert.equal(allocator.alloc(1500, 1).address, START);
    }),
  );
});
