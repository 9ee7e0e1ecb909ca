import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import device, { rng } from '../../examples/rng.js';
import { DeviceBench } from '../../src/index.js';

describe('the rng example', () => {
  test('fits on a screen: 30 lines or less', () => {
    const source = readFileSync(new URL('../../../examples/rng.ts', import.meta.url), 'utf8');
    assert.ok(source.split('\n').length - 1 <= 30);
  });

  test('5.4.6: a buffer comes back with random bytes, a huge one not full', () => {
    const sizes: number[] = [];
    const random = (size: number): Uint8Array => {
      sizes.push(size);
      return new Uint8Array(size).fill(7);
    };
    const bench = new DeviceBench(rng(random)());
    const [queue] = bench.drivers;
    const answers = [1, 64, 500_000].map((room) => {
      queue!.send([], [room]);
      bench.kick(0);
      return queue!.receive()!.bytes;
    });
    assert.deepEqual(sizes, [1, 64, 4096]);
    assert.deepEqual(
      answers,
      sizes.map((size) => new Uint8Array(size).fill(7)),
    );
    assert.deepEqual([bench.warnings, bench.broken], [[], []]);
  });

  test('its bytes differ', () => {
    const bench = new DeviceBench(device());
    const read = (): string => {
      bench.drivers[0]!.send([], [32]);
      bench.kick(0);
      return Buffer.from(bench.drivers[0]!.receive()!.bytes).toString('hex');
    };
    assert.equal(new Set(Array.from({ length: 50 }, read)).size, 50);
  });
});
