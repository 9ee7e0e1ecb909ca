import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ConfigSpace } from './config-space.js';

const SIZE = 8;

test('2.5: a write changes exactly the bytes that it names and the driver may write', () => {
  const space = new ConfigSpace(SIZE, [[2, 6]]);
  for (let i = 0; i < SIZE; i++) space.view.setUint8(i, 0x10 + i);
  assert.equal(space.write(2, Uint8Array.of(0xa2)), true);
  assert.deepEqual([...space.read(0, SIZE)], [0x10, 0x11, 0xa2, 0x13, 0x14, 0x15, 0x16, 0x17]);
  assert.equal(space.write(5, Uint8Array.of(0xa5, 0xa6)), true);
  assert.deepEqual([...space.read(0, SIZE)], [0x10, 0x11, 0xa2, 0x13, 0x14, 0xa5, 0x16, 0x17]);
  assert.equal(space.write(0, Uint8Array.of(1, 2)), false);
  assert.equal(space.write(6, Uint8Array.of(1, 2, 3)), false);
  assert.equal(space.write(2, new Uint8Array(0)), false);
});

test('2.5: writes and reads of any place and length, against a plain model', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: SIZE }),
      fc.integer({ min: 0, max: SIZE }),
      fc.array(fc.tuple(fc.integer({ min: 0, max: SIZE + 2 }), fc.uint8Array({ maxLength: SIZE + 2 }))),
      fc.integer({ min: 0, max: SIZE + 2 }),
      fc.integer({ min: 0, max: SIZE + 2 }),
      (a, b, writes, offset, length) => {
        const [from, to] = [Math.min(a, b), Math.max(a, b)];
        const space = new ConfigSpace(SIZE, [[from, to]]);
        const model = new Array<number>(SIZE).fill(0);
        for (const [at, bytes] of writes) {
          let any = false;
          bytes.forEach((byte, i) => {
            if (at + i < from || at + i >= to) return;
            model[at + i] = byte;
            any = true;
          });
          assert.equal(space.write(at, bytes), any);
        }
        const expected = Array.from({ length }, (_, i) => model[offset + i] ?? 0);
        assert.deepEqual([...space.read(offset, length)], expected);
      },
    ),
  );
});

test('a size or a range that can’t be is refused', () => {
  for (const size of [-1, 4097, 1.5, Number.NaN]) assert.throws(() => new ConfigSpace(size), RangeError);
  assert.equal(new ConfigSpace(4096).size, 4096);
});
