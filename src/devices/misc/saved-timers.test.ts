import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { StateError } from '../../virtio/saved-state.js';
import { armTimers, checkTimers, savedTimers } from './saved-timers.js';
import { Timers } from './timers.js';

interface Told {
  readonly id: number;
  readonly deadline: number;
  readonly expirations: number;
}

/** All that is delivered up to `until`, each as soon as it is due, times counted from `from`. */
function run(timers: Timers, from: number, until: number): Told[] {
  const told: Told[] = [];
  for (let now = from; ; ) {
    while (timers.expire(now, 1000) <= 0);
    for (let next = timers.deliver(now); next !== undefined; next = timers.deliver(now)) {
      const { id, deadline, expirations } = next;
      told.push({ id, deadline: deadline - from, expirations });
      while (timers.expire(now, 1000) <= 0);
    }
    const { next } = timers;
    if (next === undefined || next > until) return told;
    now = Math.max(now, next);
  }
}

test('timers that go on elsewhere are due after what was left of each, in the same order, periodic ones on and on', () => {
  const timer = fc.record({
    id: fc.nat(0xffff_ffff),
    delay: fc.oneof(fc.nat(5), fc.nat(1000), fc.nat(2 ** 31)),
    interval: fc.oneof(fc.constant(0), fc.integer({ min: 100, max: 10_000 })),
  });
  fc.assert(
    fc.property(
      fc.uniqueArray(timer, { selector: ({ id }) => id, maxLength: 200 }),
      fc.nat(2000),
      fc.nat(10),
      (set, passed, cancelled) => {
        const here = new Timers();
        const start = 1e12;
        for (const { id, delay, interval } of set) here.arm(id, start + delay, interval);
        for (const { id } of set.slice(0, cancelled)) here.cancel(id);
        // Some are due, and wait for buffers.
        const now = start + passed;
        here.expire(now, 5000);
        const there = new Timers();
        const other = 7e12;
        const bytes = savedTimers(here, now);
        assert.equal(bytes.length, 24 * Math.max(0, set.length - cancelled));
        armTimers(there, checkTimers(bytes, 200), other);
        assert.deepEqual(run(there, other, other + 5000), run(here, now, now + 5000));
      },
    ),
  );
});

test('bytes that are no timers are refused', () => {
  const timers = new Timers();
  timers.arm(1, 10, 0);
  timers.arm(2, 20, 5);
  const good = savedTimers(timers, 0);
  const changed = (at: number, value: number): Uint8Array => {
    const bytes = good.slice();
    new DataView(bytes.buffer).setFloat64(at, value, true);
    return bytes;
  };
  const twice = good.slice();
  twice[24] = 1;
  for (const bad of [
    undefined,
    'timers',
    [1],
    good.slice(1),
    twice,
    changed(8, Number.NaN),
    changed(8, Infinity),
    changed(16, -1),
    changed(16, Number.NaN),
    changed(16, Infinity),
  ]) {
    assert.throws(() => checkTimers(bad, 10), StateError);
  }
  assert.throws(() => checkTimers(good, 1), /the state has 2 timers, and there may be 1/);
  assert.equal(checkTimers(good, 2), good);
});
