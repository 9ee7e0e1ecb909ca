import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigSpace } from './config-space.js';
import type { VirtioDevice } from './device.js';
import { restoreDevice, savedDevice } from './moved-device.js';
import { StateError, sealState } from './saved-state.js';

function device(state?: unknown, more: Partial<VirtioDevice> = {}): VirtioDevice {
  return {
    id: 60,
    name: 'mover',
    features: 0n,
    queues: [],
    config: new ConfigSpace(4, [[0, 4]]),
    queueNotified: () => {},
    save: () => state,
    ...more,
  };
}

test('a device goes on from the bytes of another: its configuration space and what it saved', () => {
  const from = device({ count: 3, kept: [Uint8Array.of(1, 2)] });
  from.config.write(0, Uint8Array.of(1, 2, 3, 4));
  const got: unknown[] = [];
  const to = device(undefined, { restore: (state) => void got.push(state) });
  restoreDevice(to, savedDevice(from));
  assert.deepEqual(got, [{ count: 3, kept: [Uint8Array.of(1, 2)] }]);
  assert.ok(to.config.equals(from.config));
});

test('a device that saves nothing has its configuration space moved', () => {
  const { save: _, ...plain } = device();
  plain.config.write(0, Uint8Array.of(9));
  const to = device(undefined, { restore: () => assert.fail('there is nothing') });
  restoreDevice(to, savedDevice(plain));
  assert.equal(to.config.read(0, 1)[0], 9);
});

test('what has no bytes is named; what is of another device, or can not be, changes nothing', () => {
  assert.throws(() => savedDevice(device({ waiting: [() => {}] })), /waiting/);
  const to = device(undefined, { restore: () => assert.fail('it can not be') });
  const bad: [Uint8Array, RegExp][] = [
    [savedDevice(device(1, { id: 61, name: 'other' })), /the state is of other \(id 61\), this is id 60/],
    [savedDevice(device(1, { config: new ConfigSpace(8) })), /config of the state/],
    [sealState([]), /the state is not there/],
    [sealState({ id: 60 }), /config of the state/],
    [new Uint8Array(3), /has 3 bytes/],
    [savedDevice(device(1)).slice(0, -1), /bytes of/],
  ];
  for (const [bytes, text] of bad) {
    assert.throws(
      () => restoreDevice(to, bytes),
      (error) => error instanceof StateError && text.test(error.message),
    );
  }
  assert.throws(() => restoreDevice(device(), savedDevice(device(1))), /more than mover can go on with/);
});
