import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KeptDevice, keptDevice } from './kept-device.js';
import type { KeptItem, Notes } from './transports/keep.js';
import { ConfigSpace } from './virtio/config-space.js';
import type { VirtioDevice } from './virtio/device.js';
import { portraitOf } from './virtio/portrait.js';

const device: VirtioDevice = {
  id: 60,
  name: 'kept',
  features: 0n,
  queues: [],
  config: new ConfigSpace(0),
  queueNotified() {},
};

/** What a worker finds that one before has left to it, with the names of the durable memory that this one kept true. */
function found(durable: readonly string[]): { keys: string[]; dropped: readonly string[]; closed: number[] } {
  const portrait = keptDevice(portraitOf(device, 0n, true, durable)).put![0]!;
  const item = (key: string, ...fds: number[]): KeptItem => ({ key, bytes: new Uint8Array(), fds });
  const told: Notes[] = [];
  const kept = [
    item('features'),
    item('durable/@clock', 5),
    item('durable/timers', 6),
    item('durable/more', 7),
    { ...portrait, fds: [] },
  ];
  const closed: number[] = [];
  const { sessions } = new KeptDevice(
    { kept, settle: (_, notes) => void told.push(notes!) },
    (fd) => void closed.push(fd),
  );
  return {
    keys: sessions!.kept.map(({ key }) => key),
    dropped: told.flatMap(({ drop = [] }) => drop),
    closed,
  };
}

test('durable memory that the program before did not keep true is dropped: what it has saved is newer', () => {
  assert.deepEqual(found(['timers', 'more']), {
    keys: ['features', 'durable/@clock', 'durable/timers', 'durable/more'],
    dropped: [],
    closed: [],
  });
  assert.deepEqual(found(['timers']), {
    keys: ['features', 'durable/@clock', 'durable/timers'],
    dropped: ['durable/more'],
    closed: [7],
  });
  assert.deepEqual(found([]), {
    keys: ['features'],
    dropped: ['durable/@clock', 'durable/timers', 'durable/more'],
    closed: [5, 6, 7],
  });
});
