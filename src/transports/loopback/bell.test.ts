import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Bell } from './bell.js';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('a call comes later, once, in the order in which it was rung for first', async () => {
  const bell = new Bell(setImmediate);
  const calls: string[] = [];
  const one = (): void => void calls.push('one');
  const two = (): void => {
    calls.push('two');
    if (calls.length < 6) bell.ring(one);
  };
  for (const call of [one, two, one, two]) bell.ring(call);
  assert.deepEqual(calls, []);
  await turn();
  assert.deepEqual(calls, ['one', 'two', 'one']);
});

test('what was rung for before a silence does not come, not even of a round that has begun', async () => {
  const bell = new Bell(setImmediate);
  const calls: string[] = [];
  bell.ring(() => {
    calls.push('first');
    bell.silence();
    bell.ring(() => void calls.push('after'));
  });
  bell.ring(() => void calls.push('second'));
  await turn();
  assert.deepEqual(calls, ['first', 'after']);
  bell.ring(() => void calls.push('never'));
  bell.silence();
  await turn();
  assert.deepEqual(calls, ['first', 'after']);
});

test('two ends that never stop leave the event loop its turns', async () => {
  const bell = new Bell(setImmediate);
  let rounds = 0;
  const again = (): void => {
    rounds += 1;
    bell.ring(again);
  };
  bell.ring(again);
  await new Promise((resolve) => setTimeout(resolve, 1));
  assert.ok(rounds > 10);
  bell.silence();
});

test('a call that throws takes nothing from the others', async () => {
  const bell = new Bell(setImmediate);
  const thrown = new Promise<Error>((resolve) => process.setUncaughtExceptionCaptureCallback(resolve));
  let called = false;
  bell.ring(() => {
    throw new Error('mine');
  });
  bell.ring(() => {
    called = true;
  });
  assert.equal((await thrown).message, 'mine');
  process.setUncaughtExceptionCaptureCallback(null);
  assert.ok(called);
});
