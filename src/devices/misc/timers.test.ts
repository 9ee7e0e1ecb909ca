import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Timers } from './timers.js';

test('timers expire at their deadline, not before, in deadline order, ties in arming order', () => {
  const timers = new Timers();
  timers.arm(1, 300, 0);
  timers.arm(2, 100, 0);
  timers.arm(3, 100, 0);
  assert.equal(timers.next, 100);
  timers.expire(99);
  assert.equal(timers.hasExpired, false);
  timers.expire(300);
  assert.deepEqual(
    [timers.deliver(300), timers.deliver(300), timers.deliver(300), timers.deliver(300)],
    [
      { id: 2, deadline: 100, expirations: 1 },
      { id: 3, deadline: 100, expirations: 1 },
      { id: 1, deadline: 300, expirations: 1 },
      undefined,
    ],
  );
  assert.equal(timers.size, 0);
});

test('an id is in use while its timer is armed or undelivered', () => {
  const timers = new Timers();
  timers.arm(7, 10, 0);
  timers.expire(10);
  assert.equal(timers.has(7), true);
  assert.equal(timers.size, 1);
  timers.deliver(10);
  assert.equal(timers.has(7), false);
});

test('a cancelled expiry is not delivered', () => {
  const timers = new Timers();
  timers.arm(1, 10, 0);
  timers.arm(2, 10, 5);
  timers.expire(10);
  assert.equal(timers.cancel(1), true);
  assert.equal(timers.cancel(2), true);
  assert.equal(timers.cancel(2), false);
  assert.equal(timers.deliver(10), undefined);
  assert.equal(timers.next, undefined);
});

test('a periodic timer counts what nobody took, and goes on in phase', () => {
  const timers = new Timers();
  timers.arm(1, 100, 50);
  timers.expire(100);
  timers.expire(399);
  assert.deepEqual(timers.deliver(399), { id: 1, deadline: 100, expirations: 6 });
  assert.equal(timers.next, 400);
});

/** A sorted list that does the same, slowly. */
class Model {
  armed: { id: number; deadline: number; order: number }[] = [];
  expired: { id: number; deadline: number }[] = [];
  order = 0;

  arm(id: number, deadline: number): void {
    this.armed.push({ id, deadline, order: this.order++ });
    this.armed.sort((a, b) => a.deadline - b.deadline || a.order - b.order);
  }

  expire(now: number): void {
    while (this.armed.length > 0 && this.armed[0]!.deadline <= now) this.expired.push(this.armed.shift()!);
  }

  cancel(id: number): boolean {
    const before = this.armed.length + this.expired.length;
    this.armed = this.armed.filter((t) => t.id !== id);
    this.expired = this.expired.filter((t) => t.id !== id);
    return this.armed.length + this.expired.length < before;
  }
}

test('any sequence of calls does what a sorted list does', () => {
  const call = fc.oneof(
    fc.record({ do: fc.constant('arm' as const), id: fc.nat(40), delay: fc.nat(60) }),
    fc.record({ do: fc.constant('cancel' as const), id: fc.nat(40) }),
    fc.record({ do: fc.constant('wait' as const), time: fc.nat(20) }),
    fc.record({ do: fc.constant('deliver' as const), count: fc.nat(5) }),
  );
  fc.assert(
    fc.property(fc.array(call, { maxLength: 200 }), (calls) => {
      const timers = new Timers();
      const model = new Model();
      let now = 0;
      for (const c of calls) {
        if (c.do === 'arm') {
          assert.equal(
            timers.has(c.id),
            [...model.armed, ...model.expired].some((t) => t.id === c.id),
          );
          if (timers.has(c.id)) continue;
          timers.arm(c.id, now + c.delay, 0);
          model.arm(c.id, now + c.delay);
        } else if (c.do === 'cancel') {
          assert.equal(timers.cancel(c.id), model.cancel(c.id));
        } else if (c.do === 'wait') {
          now += c.time;
          timers.expire(now);
          model.expire(now);
        } else {
          for (let i = 0; i < c.count; i++) assert.equal(timers.deliver(now)?.id, model.expired.shift()?.id);
        }
        assert.equal(timers.next, model.armed[0]?.deadline);
        assert.equal(timers.size, model.armed.length + model.expired.length);
        assert.equal(timers.hasExpired, model.expired.length > 0);
      }
    }),
    { numRuns: 500 },
  );
});
