import assert from 'node:assert/strict';
import { test } from 'node:test';
import { joinAddress } from './address.js';

test('the two halves of an address are joined without losing a bit', () => {
  assert.equal(joinAddress(0, 0), 0);
  assert.equal(joinAddress(0xffff_ffff, 0), 0xffff_ffff);
  assert.equal(joinAddress(0x8000_0001, 1), 0x1_8000_0001);
  assert.equal(joinAddress(0xffff_ffff, 0x1f_ffff), Number.MAX_SAFE_INTEGER);
});

test('halves are taken as unsigned, whatever a 32-bit operation made of them', () => {
  assert.equal(joinAddress(-1, 0), 0xffff_ffff);
  assert.equal(joinAddress(0, -1), Number.NaN);
});

test('an address above 2^53 - 1 is no number at all', () => {
  assert.equal(joinAddress(0, 0x20_0000), Number.NaN);
  assert.equal(joinAddress(0xffff_ffff, 0xffff_ffff), Number.NaN);
});
