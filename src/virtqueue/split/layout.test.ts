import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  AREA_ALIGNMENT,
  availEventOffset,
  descriptorAreaSize,
  deviceAreaSize,
  driverAreaSize,
  isQueueSize,
  usedEventOffset,
} from './layout.js';

test('2.7: the areas have the sizes and alignments of the table', () => {
  for (const size of [1, 8, 256, 32768]) {
    assert.equal(descriptorAreaSize(size), 16 * size);
    assert.equal(driverAreaSize(size), 6 + 2 * size);
    assert.equal(deviceAreaSize(size), 6 + 8 * size);
  }
  assert.deepEqual(AREA_ALIGNMENT, { descriptor: 16, driver: 2, device: 4 });
});

test('2.7.6, 2.7.8: the event indices are the last two bytes of their areas', () => {
  for (const size of [1, 8, 32768]) {
    assert.equal(usedEventOffset(size) + 2, driverAreaSize(size));
    assert.equal(availEventOffset(size) + 2, deviceAreaSize(size));
  }
});

test('2.7: a queue size is a power of two up to 32768', () => {
  const sizes = [];
  for (let size = -2; size <= 70_000; size++) if (isQueueSize(size)) sizes.push(size);
  assert.deepEqual(
    sizes,
    Array.from({ length: 16 }, (_, bit) => 1 << bit),
  );
  for (const size of [0.5, 1.5, Number.NaN, Infinity, 2 ** 31, 2 ** 32, 2 ** 53])
    assert.equal(isQueueSize(size), false);
});
