import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MappedView } from './mapped-view.js';

const counting = (length: number) => Uint8Array.from({ length }, (_, i) => i + 1).buffer;
const bytesOf = (buffer: ArrayBuffer) => [...new Uint8Array(buffer)];

test('values are little-endian', () => {
  const view = new MappedView(counting(8));
  assert.equal(view.read16(2), 0x0403);
  assert.equal(view.load16(2), 0x0403);
  assert.equal(view.read32(4), 0x08070605);
  assert.equal(view.loadWord(4), 0x08070605);
  const buffer = new ArrayBuffer(8);
  const written = new MappedView(buffer);
  written.write16(0, 0x0201);
  written.store16(2, 0x1_0403);
  written.write32(4, 0x08070605);
  assert.deepEqual(bytesOf(buffer), [1, 2, 3, 4, 5, 6, 7, 8]);
});

test('a word is signed, as those of `words` are', () => {
  const view = new MappedView(Uint8Array.of(0, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff).buffer);
  assert.equal(view.loadWord(4), -2);
  assert.equal(view.words![1], -2);
});

test('a value of 32 bits is never negative', () => {
  const view = new MappedView(new Uint8Array(8).fill(0xff).buffer, 0);
  assert.equal(view.read32(0), 0xffff_ffff);
  assert.equal(new MappedView(new Uint8Array(9).fill(0xff).buffer, 1).read32(0), 0xffff_ffff);
});

for (const byteOffset of [0, 1, 2, 3, 4]) {
  test(`plain values can be had of a view that starts at byte ${byteOffset}, wherever they lie in it`, () => {
    const buffer = counting(32);
    const truth = new DataView(buffer, byteOffset);
    const view = new MappedView(buffer, byteOffset);
    for (let at = 0; at + 2 <= view.length; at++) {
      assert.equal(view.read16(at), truth.getUint16(at, true));
      view.write16(at, 0xa000 + at);
      assert.equal(truth.getUint16(at, true), 0xa000 + at);
    }
    for (let at = 0; at + 4 <= view.length; at++) {
      assert.equal(view.read32(at), truth.getUint32(at, true));
      view.write32(at, 0xb000_0000 + at);
      assert.equal(truth.getUint32(at, true), 0xb000_0000 + at);
    }
  });
}

for (const length of [8, 9, 10, 11]) {
  test(`no access goes past the end of a view of ${length} bytes`, () => {
    const buffer = counting(24);
    const before = bytesOf(buffer);
    const view = new MappedView(buffer, 4, length);
    const bad = [-1, -4, -8, length - 1, length, length + 4, 2 ** 32, 2 ** 53, Number.NaN, Infinity, 0.5];
    for (const at of bad) {
      assert.throws(() => view.read16(at), RangeError, `read16(${at})`);
      assert.throws(() => view.load16(at), RangeError, `load16(${at})`);
      assert.throws(() => view.write16(at, 0), RangeError, `write16(${at})`);
      assert.throws(() => view.store16(at, 0), RangeError, `store16(${at})`);
    }
    for (const at of [...bad, length - 2, length - 3]) {
      assert.throws(() => view.read32(at), RangeError, `read32(${at})`);
      assert.throws(() => view.loadWord(at), RangeError, `loadWord(${at})`);
      assert.throws(() => view.write32(at, 0), RangeError, `write32(${at})`);
    }
    assert.deepEqual(bytesOf(buffer), before);
  });
}

test('an atomic access that is not aligned is refused: the processor could tear it', () => {
  const view = new MappedView(new ArrayBuffer(8));
  assert.throws(() => view.load16(1), RangeError);
  assert.throws(() => view.store16(1, 0), RangeError);
  assert.throws(() => view.loadWord(2), RangeError);
  const odd = new MappedView(new ArrayBuffer(8), 1, 6);
  assert.throws(() => odd.load16(0), RangeError);
  assert.throws(() => odd.store16(0, 0), RangeError);
  assert.throws(() => new MappedView(new ArrayBuffer(8), 2, 6).loadWord(0), RangeError);
});

for (const length of [0, 1, 63, 64, 65, 300]) {
  test(`copies of ${length} bytes go where they should and nowhere else`, () => {
    const buffer = new ArrayBuffer(400);
    const view = new MappedView(buffer, 4, 392);
    const from = new Uint8Array(length + 20).fill(0xee);
    for (let i = 0; i < length; i++) from[7 + i] = i + 1;
    view.copyIn(11, from, 7, length);
    const expected = new Uint8Array(400);
    expected.set(from.subarray(7, 7 + length), 15);
    assert.deepEqual(new Uint8Array(buffer), expected);

    const into = new Uint8Array(length + 20);
    view.copyOut(11, into, 3, length);
    const back = new Uint8Array(length + 20);
    back.set(from.subarray(7, 7 + length), 3);
    assert.deepEqual(into, back);
  });
}

test('a copy stays inside the view and inside the array', () => {
  const view = new MappedView(new ArrayBuffer(16), 4, 8);
  const array = new Uint8Array(8);
  const bad: [number, number, number][] = [
    [-1, 0, 4],
    [5, 0, 4],
    [0, 5, 4],
    [0, -1, 4],
    [0, 0, 9],
    [0, 0, -1],
    [Number.NaN, 0, 4],
    [0, Number.NaN, 4],
    [0, 0, Number.NaN],
    [2 ** 53, 0, 1],
  ];
  for (const [offset, start, length] of bad) {
    assert.throws(
      () => view.copyOut(offset, array, start, length),
      RangeError,
      `${offset} ${start} ${length}`,
    );
    assert.throws(
      () => view.copyIn(offset, array, start, length),
      RangeError,
      `${offset} ${start} ${length}`,
    );
  }
});

test('a slice shows the same bytes and ends where it was told to', () => {
  const buffer = counting(32);
  const slice = new MappedView(buffer, 4).slice(4, 8).slice(2, 4);
  assert.equal(slice.length, 4);
  assert.equal(slice.read16(0), 0x0c0b);
  slice.write16(2, 0xbeef);
  assert.equal(new DataView(buffer).getUint16(12, true), 0xbeef);
  assert.throws(() => slice.read16(4), RangeError);
  for (const [offset, length] of [
    [-1, 2],
    [0, 5],
    [5, 0],
    [0, -1],
    [Number.NaN, 1],
    [0, Number.NaN],
  ] as const) {
    assert.throws(() => slice.slice(offset, length), RangeError, `slice(${offset}, ${length})`);
  }
});
