import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { splitDeviceLife, splitDriverLife } from '../testing/split-lives.js';

const seed = fc.integer({ min: 1, max: 2 ** 31 - 1 });

test('2.7: garbage in the whole ring, changing all the time, costs a device no more than its queue', () => {
  fc.assert(
    fc.property(seed, fc.boolean(), (from, plausible) => {
      splitDeviceLife(from, 60, plausible);
    }),
    { numRuns: 1500 },
  );
});

test('2.7: garbage from the device costs a driver no more than its queue', () => {
  fc.assert(
    fc.property(seed, (from) => {
      splitDriverLife(from, 60);
    }),
    { numRuns: 1000 },
  );
});

test('the two tests above come to every rule that there is', () => {
  const codes = new Set<string>();
  for (let from = 1; from <= 1500; from++) {
    for (const code of splitDeviceLife(from * 7919, 60, from % 8 > 0).codes) codes.add(code);
    if (from % 4 === 0) for (const code of splitDriverLife(from * 7919, 60).codes) codes.add(code);
  }
  const expected = [
    'AREA_UNMAPPED',
    'AVAIL_INDEX',
    'BUFFER_UNMAPPED',
    'CHAIN_LOOP',
    'HEAD_INDEX',
    'HEAD_IN_FLIGHT',
    'INDIRECT_LENGTH',
    'INDIRECT_NESTED',
    'INDIRECT_NEXT',
    'INDIRECT_NOT_NEGOTIATED',
    'INDIRECT_UNMAPPED',
    'INFLIGHT_REGION',
    'NEXT_INDEX',
    'READABLE_AFTER_WRITABLE',
    'UNMAPPED',
    'USED_ID',
    'USED_INDEX',
    'USED_LEN',
  ];
  assert.deepEqual([...codes].sort(), expected.sort());
});
