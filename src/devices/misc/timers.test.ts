import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Expiry, Timers } from './timers.js';

/** Work without an end. */
const LOTS = 1e9;

/** The expiries that wait, and those that come while they are taken. */
function take(timers: Timers, now: number, work = LOTS): Expiry[] {
  const all: Expiry[] = [];
  for (;;) {
    const left = timers.expire(now, work);
    for (let e = timers.deliver(now); e !== undefined; e = timers.deliver(now)) all.push({ ...e });
    if (left > 0 && timers.expire(now, work) > 0 && !timers.hasExpired) return all;
  }
}

test('timers expire at their deadline, not before, in deadline order, ties in arming order', () => {
  const timers = new Timers();
  timers.arm(1, 300, 0);
  timers.arm(2, 100, 0);
  timers.arm(3, 100, 0);
  assert.equal(timers.next, 100);
  timers.expire(99, LOTS);
  assert.equal(timers.hasExpired, false);
  timers.expire(300, LOTS);
  assert.deepEqual(take(timers, 300), [
    { id: 2, deadline: 100, expirations: 1, next: undefined },
    { id: 3, deadline: 100, expirations: 1, next: undefined },
    { id: 1, deadline: 300, expirations: 1, next: undefined },
  ]);
  assert.equal(timers.size, 0);
});

test('an id is in use while its timer is armed or undelivered', () => {
  const timers = new Timers();
  timers.arm(7, 10, 0);
  timers.expire(10, LOTS);
  assert.equal(timers.has(7), true);
  assert.equal(timers.size, 1);
  timers.deliver(10);
  assert.equal(timers.has(7), false);
});

test('a cancelled expiry is not delivered', () => {
  const timers = new Timers();
  timers.arm(1, 10, 0);
  timers.arm(2, 10, 5);
  timers.expire(10, LOTS);
  assert.equal(timers.cancel(1), true);
  assert.equal(timers.cancel(2), true);
  assert.equal(timers.cancel(2), false);
  assert.equal(timers.deliver(10), undefined);
  assert.equal(timers.next, undefined);
});

test('a periodic timer counts what nobody took, and goes on in phase', () => {
  const timers = new Timers();
  timers.arm(1, 100, 50);
  timers.expire(100, LOTS);
  timers.expire(399, LOTS);
  assert.deepEqual(timers.deliver(399), { id: 1, deadline: 100, expirations: 6, next: 400 });
  assert.equal(timers.next, 400);
});

test('arming an id in use changes nothing', () => {
  const timers = new Timers();
  assert.equal(timers.arm(5, 10, 0), true);
  assert.equal(timers.arm(5, 3, 0), false);
  assert.equal(timers.next, 10);
  assert.equal(timers.size, 1);
});

test('an id is any number of 32 bits', () => {
  const timers = new Timers();
  const ids = [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff];
  for (const id of ids) assert.equal(timers.arm(id, 5, 0), true);
  for (const id of ids) assert.equal(timers.has(id), true);
  assert.deepEqual(
    take(timers, 5).map(({ id }) => id),
    ids,
  );
});

test('a deadline that is no exact number is rounded up: never early', () => {
  for (const deadline of [10.25, 2 ** 53 + 2, 2 ** 62, 2 ** 63 - 2 ** 15]) {
    const timers = new Timers();
    timers.arm(1, deadline, 0);
    timers.expire(deadline - Math.max(1, deadline * 2 ** -52), LOTS);
    assert.equal(timers.hasExpired, false);
    assert.ok(timers.next! >= deadline);
    assert.ok(timers.next! <= deadline * (1 + 2 ** -49) + 1);
    timers.expire(timers.next!, LOTS);
    assert.equal(timers.hasExpired, true);
  }
});

test('from 2^63 ns on there is no time', () => {
  const timers = new Timers();
  for (const [id, deadline] of [2 ** 63, 2 ** 64, 2 ** 70].entries()) timers.arm(id, deadline, 0);
  assert.equal(timers.next, undefined);
  timers.expire(2 ** 63 - 1024, LOTS);
  assert.equal(timers.hasExpired, false);
  assert.equal(timers.cancel(1), true);
  assert.equal(timers.size, 2);
});

test('a periodic timer keeps its phase over any interval and delay', () => {
  fc.assert(
    fc.property(
      fc.nat(2 ** 31),
      fc.integer({ min: 1, max: 2 ** 40 }),
      fc.nat(2 ** 31),
      (first, interval, late) => {
        const timers = new Timers();
        timers.arm(1, first, interval);
        const now = first + late;
        timers.expire(now, LOTS);
        const { expirations } = timers.deliver(now)!;
        assert.equal(expirations, 1 + Math.floor(late / interval));
        assert.equal(timers.next, first + expirations * interval);
      },
    ),
  );
});

test('a search stops when its work is done, and goes on where it stopped', () => {
  const timers = new Timers();
  for (let id = 0; id < 10_000; id++) timers.arm(id, 1e9 + ((id * 7919) % 10_000), 0);
  let calls = 0;
  while (!timers.hasExpired) {
    assert.ok(timers.expire(2e9, 500) <= 500);
    calls += 1;
  }
  assert.ok(calls >= 10_000 / (500 + 64), `${calls} calls`);
  assert.equal(take(timers, 2e9).length, 10_000);
});

test('memory is given back after a peak, wherever what is left lies', () => {
  for (const left of [0, 1, 500]) {
    const timers = new Timers();
    for (let id = 0; id < 200_000; id++) timers.arm(id, 1e6 + id * 5000, 0);
    const most = timers.bytes;
    for (let id = 0; id < 200_000; id++) if (id % 400 !== 3 || id > 400 * left) timers.cancel(id);
    assert.equal(timers.size, left);
    assert.equal(timers.hasSpare, true);
    timers.trim();
    assert.equal(timers.hasSpare, false);
    assert.ok(timers.bytes < most / 4, `${timers.bytes} of ${most} with ${left} left`);
    const ids = take(timers, 2e9).map(({ id }) => id);
    assert.deepEqual(
      ids,
      Array.from({ length: left }, (_, i) => 400 * i + 3),
    );
    // And as many again.
    for (let id = 0; id < 200_000; id++) timers.arm(id, 3e9 + id, 0);
    assert.equal(timers.size, 200_000);
    assert.ok(take(timers, 4e9).every(({ id }, i) => id === i));
    assert.equal(timers.size, 0);
  }
});

test('what is armed and cancelled again and again takes no memory', () => {
  const timers = new Timers();
  timers.arm(1, 5, 0);
  let most = 0;
  for (let i = 0; i < 300_000; i++) {
    timers.arm(2, 1e12 + (i % 1000) * 1e6, 0);
    timers.cancel(2);
    if (i === 20_000) most = timers.bytes;
  }
  assert.ok(timers.bytes <= 1.5 * most, `${timers.bytes} of ${most}`);
  assert.equal(timers.next, 5);
});

test('a cancelled timer wakes nobody', () => {
  const timers = new Timers();
  timers.arm(1, 1000, 0);
  timers.arm(2, 5000, 0);
  timers.arm(3, 9e9, 0);
  timers.cancel(1);
  assert.equal(timers.next, 5000);
  timers.cancel(2);
  assert.equal(timers.next, 9e9);
  timers.cancel(3);
  assert.equal(timers.next, undefined);
});

interface ModelTimer {
  readonly id: number;
  deadline: number;
  readonly interval: number;
}

/** A list that does the same, slowly. */
class Model {
  timers: ModelTimer[] = [];

  arm(id: number, deadline: number, interval: number): boolean {
    if (this.timers.some((timer) => timer.id === id)) return false;
    this.timers.push({ id, deadline, interval });
    return true;
  }

  cancel(id: number): boolean {
    const index = this.timers.findIndex((timer) => timer.id === id);
    if (index >= 0) this.timers.splice(index, 1);
    return index >= 0;
  }

  /** The first of the earliest: the list is in the order of setting. */
  deliver(now: number): Expiry | undefined {
    let index = -1;
    this.timers.forEach(({ deadline }, at) => {
      if (deadline <= now && (index < 0 || deadline < this.timers[index]!.deadline)) index = at;
    });
    if (index < 0) return undefined;
    const [{ id, deadline, interval }] = this.timers.splice(index, 1) as [ModelTimer];
    if (interval === 0) return { id, deadline, expirations: 1, next: undefined };
    const expirations = 1 + Math.floor((now - deadline) / interval);
    const next = deadline + expirations * interval;
    this.timers.push({ id, deadline: next, interval });
    return { id, deadline, expirations, next };
  }

  get next(): number {
    return Math.min(...this.timers.map(({ deadline }) => deadline));
  }
}

/** Delays about the borders of the wheel's digits, in reach of each other, and equal ones. */
const delay = fc.oneof(
  fc.nat(3),
  fc.nat(600),
  fc.nat(70_000),
  fc
    .tuple(fc.constantFrom(8, 16, 24, 31, 32, 40, 46), fc.integer({ min: -2, max: 2 }))
    .map(([bits, by]) => 2 ** bits + by),
  fc.constantFrom(2 ** 47, 1e9, 5e6),
);
const id = fc.oneof(fc.nat(40), fc.constantFrom(0x7fff_ffff, 0x8000_0000, 0xffff_ffff));
const call = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('arm' as const),
      id,
      delay,
      interval: fc.oneof(fc.constant(0), fc.constantFrom(1, 7, 256, 65_536)),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('many' as const),
      from: fc.nat(1000),
      count: fc.nat(150),
      delay,
      step: fc.constantFrom(0, 0, 1, 3, 250, 70_000),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('cancel' as const), id }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('cancelMany' as const), from: fc.nat(1000), count: fc.nat(150) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('wait' as const), time: delay }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('deliver' as const),
      count: fc.nat(120),
      work: fc.constantFrom(1, 40, 100, LOTS),
    }),
  },
);

test('any sequence of calls does what a list does', () => {
  fc.assert(
    fc.property(fc.nat(2 ** 34), fc.boolean(), fc.array(call, { maxLength: 60 }), (start, looks, calls) => {
      const timers = new Timers();
      const model = new Model();
      let now = start;
      const arm = (id: number, deadline: number, interval: number): void =>
        assert.equal(timers.arm(id, deadline, interval), model.arm(id, deadline, interval));
      for (const c of calls) {
        if (c.do === 'arm') arm(c.id, now + c.delay, c.interval);
        else if (c.do === 'many') {
          for (let i = 0; i < c.count; i++) arm(c.from + i, now + c.delay + ((i * 13) % 50) * c.step, 0);
        } else if (c.do === 'cancel') assert.equal(timers.cancel(c.id), model.cancel(c.id));
        else if (c.do === 'cancelMany') {
          for (let i = 0; i < c.count; i++) assert.equal(timers.cancel(c.from + i), model.cancel(c.from + i));
        } else if (c.do === 'wait') now += c.time;
        else {
          for (let i = 0; i < c.count; i++) {
            for (let left = 0; left <= 0 && !timers.hasExpired; ) left = timers.expire(now, c.work);
            assert.deepEqual(timers.deliver(now), model.deliver(now));
          }
        }
        assert.equal(timers.size, model.timers.length);
        // It may be told that there is something before there is, but never too late.
        if (looks && !timers.hasExpired && model.next > now)
          assert.ok((timers.next ?? Infinity) <= model.next);
      }
      for (const { id } of model.timers) assert.equal(timers.has(id), true);
    }),
    { numRuns: 300 },
  );
});
