import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { Alarm } from '../virtio/clock.js';
import { freshOs } from './testing/open-descriptors.js';
import { runScript } from './testing/run-script.js';
import { settled } from './testing/settled.js';

const MS = 1e6;

const os = freshOs();

test('the clock is CLOCK_MONOTONIC, and counts up from about zero', () => {
  const { clock } = os();
  const before = process.hrtime.bigint();
  const first = clock.now();
  const second = clock.now();
  const after = process.hrtime.bigint();
  assert.ok(first >= 0 && second >= first);
  assert.ok(BigInt(second - first) <= after - before);
  assert.ok(Number.isInteger(first));
  // Across the end of many seconds' worth of nanoseconds it never goes back.
  let last = second;
  for (let i = 0; i < 100_000; i++) {
    const now = clock.now();
    if (now < last) assert.fail(`${now} after ${last}`);
    last = now;
  }
});

test('alarms ring in the order of their deadlines, each once and none early', async () => {
  const { clock } = os();
  const delays = [7, 3, 5, 1.000001, 1.5, 3.000001, 1];
  for (;;) {
    const start = clock.now() + 5 * MS;
    const rung: number[] = [];
    const alarms: Alarm[] = [];
    let inTime = false;
    await new Promise<void>((resolve) => {
      for (const delay of delays) {
        const deadline = start + delay * MS;
        const alarm = clock.alarm(() => {
          assert.ok(clock.now() >= deadline, `${clock.now() - deadline} ns early`);
          rung.push(delay);
          if (rung.length === delays.length) resolve();
        });
        alarm.set(deadline);
        alarms.push(alarm);
      }
      inTime = clock.now() < start;
    });
    for (const alarm of alarms) alarm.close();
    // Those that were set too late to wait ring in the order in which they were set.
    if (!inTime) continue;
    assert.deepEqual(
      rung,
      delays.toSorted((a, b) => a - b),
    );
    return;
  }
});

test('a fraction of a nanosecond is waited for, too', async () => {
  const { clock } = os();
  for (let i = 0; i < 200; i++) {
    const deadline = clock.now() + 20_000 + i / 7;
    await new Promise<void>((resolve) => {
      const alarm = clock.alarm(() => {
        assert.ok(clock.now() >= deadline);
        alarm.close();
        resolve();
      });
      alarm.set(deadline);
    });
  }
});

test('a deadline in the past rings soon, but not from inside set', async () => {
  const { clock } = os();
  for (const deadline of [-5, 0, clock.now(), -(2 ** 70), Number.NEGATIVE_INFINITY]) {
    let inside = true;
    await new Promise<void>((resolve) => {
      const alarm = clock.alarm(() => {
        assert.equal(inside, false);
        alarm.close();
        resolve();
      });
      alarm.set(deadline);
      inside = false;
    });
  }
});

test('a deadline that never comes does not overflow into one that does', async () => {
  const { clock } = os();
  const alarms = [
    2 ** 53,
    2 ** 62,
    2 ** 63,
    2 ** 64,
    2 ** 80,
    Number.MAX_VALUE,
    Number.POSITIVE_INFINITY,
  ].map((deadline) => {
    const alarm = clock.alarm(() => assert.fail(`${deadline} rang`));
    alarm.set(deadline);
    return alarm;
  });
  // Seconds that the kernel would still wait: an overflow would leave none, and the alarm would be set again and again.
  const left = readdirSync('/proc/self/fdinfo').flatMap((fd) => {
    // The folder's own descriptor is closed by now.
    if (!existsSync(`/proc/self/fdinfo/${fd}`)) return [];
    const value = /^it_value: \((\d+),/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'));
    return value ? [Number(value[1])] : [];
  });
  assert.equal(left.length, alarms.length);
  for (const seconds of left) assert.ok(seconds > 9e6, `${seconds} s`);
  for (const alarm of alarms) alarm.close();
});

test('what is no number is our own mistake', () => {
  const alarm = os().clock.alarm(() => {});
  assert.throws(() => alarm.set(Number.NaN), RangeError);
  alarm.close();
  assert.throws(() => alarm.set(1), TypeError);
});

test('an alarm can be set again after it rang, and from its own ring', async () => {
  const { clock } = os();
  let rings = 0;
  await new Promise<void>((resolve) => {
    const alarm = clock.alarm(() => {
      if (++rings < 5) {
        alarm.set(clock.now() + 1000);
      } else {
        alarm.close();
        resolve();
      }
    });
    alarm.set(clock.now());
  });
  assert.equal(rings, 5);
});

test('a new deadline replaces the old one, an earlier as well as a later', async () => {
  const { clock } = os();
  const later = clock.now() + 4 * MS;
  let rings = 0;
  await new Promise<void>((resolve) => {
    const alarm = clock.alarm(() => {
      rings++;
      assert.ok(clock.now() >= later);
      alarm.close();
      resolve();
    });
    alarm.set(clock.now() + 1e15);
    alarm.set(clock.now() + 1000);
    alarm.set(later);
  });
  assert.equal(rings, 1);
});

test('an alarm that expired is not rung any more when it was cleared, closed or set later meanwhile', async () => {
  const { clock } = os();
  for (const change of [
    (alarm: Alarm) => alarm.clear(),
    (alarm: Alarm) => alarm.close(),
    (alarm: Alarm) => alarm.set(1e15),
  ]) {
    const alarms: Alarm[] = [];
    let rings = 0;
    // Both have expired when the loop looks; the first to ring changes the other.
    for (const index of [0, 1]) {
      alarms.push(
        clock.alarm(() => {
          rings++;
          change(alarms[1 - index]!);
        }),
      );
    }
    const deadline = clock.now() + 10_000;
    for (const alarm of alarms) alarm.set(deadline);
    while (clock.now() < deadline + 100_000);
    for (let i = 0; i < 5; i++) await settled(os());
    assert.equal(rings, 1);
    for (const alarm of alarms) alarm.close();
  }
});

test('clearing and closing need no deadline, and may be repeated', () => {
  const alarm = os().clock.alarm(() => assert.fail('rang'));
  alarm.clear();
  alarm.set(0);
  alarm.clear();
  alarm.clear();
  alarm.close();
  alarm.close();
  alarm.clear();
});

test('an alarm keeps the process alive while it is set, and no longer', () => {
  for (const [body, expected] of [
    ['alarm.set(os.clock.now() + 3e7);', 'rang'],
    ['alarm.set(os.clock.now() + 3e7); alarm.set(os.clock.now() + 4e7);', 'rang'],
    ['', ''],
    ['alarm.set(1e18); alarm.clear();', ''],
    ['alarm.set(1e18); alarm.close();', ''],
  ] as const) {
    const { output, status, errors } = runScript(`
      const os = new LinuxOs();
      const alarm = os.clock.alarm(() => console.log('rang'));
      ${body}
    `);
    assert.deepEqual([output, status], [expected, 0], `${body} ${errors}`);
  }
});
