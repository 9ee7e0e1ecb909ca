import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DeviceClock } from './device-clock.js';
import { FakeClock } from './testing/fake-clock.js';

const plain = (ring: () => void): void => ring();

test('time stands still while paused, and an alarm rings as much later', () => {
  const real = new FakeClock(1000);
  const clock = new DeviceClock(real, plain);
  const rung: number[] = [];
  const alarm = clock.alarm(() => rung.push(clock.now()));
  alarm.set(1100);
  real.advance(60);
  clock.pause();
  real.advance(500);
  assert.equal(clock.now(), 1060);
  assert.deepEqual(rung, []);
  clock.resume();
  real.advance(39);
  assert.deepEqual(rung, []);
  real.advance(1);
  assert.deepEqual(rung, [1100]);
});

test('an alarm that is set or cleared while paused keeps to that', () => {
  const real = new FakeClock();
  const clock = new DeviceClock(real, plain);
  const rung: string[] = [];
  const set = clock.alarm(() => rung.push('set'));
  const cleared = clock.alarm(() => rung.push('cleared'));
  cleared.set(10);
  clock.pause();
  set.set(20);
  cleared.clear();
  real.advance(100);
  clock.resume();
  real.advance(19);
  assert.deepEqual(rung, []);
  real.advance(1);
  assert.deepEqual(rung, ['set']);
});

test('close gives back every alarm the device left', () => {
  const real = new FakeClock();
  const clock = new DeviceClock(real, plain);
  clock.alarm(() => assert.fail('rang after close')).set(5);
  clock.alarm(() => {}).close();
  clock.close();
  real.advance(10);
  assert.equal(real.open, 0);
});
