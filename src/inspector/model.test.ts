import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SeenDevice } from '../observe/event.js';
import { Model } from './model.js';
import { LIVE } from './queue-model.js';

const device: SeenDevice = {
  id: 45,
  name: 'd',
  features: 0n,
  queues: [
    { name: 'a', size: 8 },
    { name: 'b', size: 8 },
  ],
  config: new Uint8Array(),
};

/** A model of a connection with so many requests on its first queue, one each 10 ns, of which the device keeps every second. */
function model(requests: number): Model {
  const made = new Model(LIVE);
  made.hear({ type: 'connected', time: 0, connection: 1, socket: '/s', transport: 't', device }, true);
  const of = { connection: 1, queue: 0, name: 'a' };
  for (let i = 1; i <= requests; i++) {
    const chain = { ...of, chain: i, head: i % 8 };
    const sizes = { readable: 0, writable: 4, descriptors: [], bytes: new Uint8Array() };
    made.hear({ type: 'taken', time: 10 * i, ...chain, ...sizes }, true);
    const answer = { consumed: 0, written: 0, taken: 10 * i, bytes: new Uint8Array() };
    if (i % 2 === 0) made.hear({ type: 'used', time: 10 * i + 5, ...chain, ...answer }, true);
  }
  return made;
}

test('it is said from when on a queue is kept, where something was forgotten, and nothing where all is there', () => {
  assert.deepEqual(model(10).timeline({ connection: 1 }, 0, 1e9, 5000).kept, []);
  const { kept, items } = model(2500).timeline({ connection: 1 }, 0, 1e9, 5000);
  assert.deepEqual(kept, [{ connection: 1, queue: 0, from: 5010 }]);
  assert.equal(items.filter(({ type }) => type === 'chain').length, 2000);
});

test('what a device holds when its ring goes, or its process dies, is told to be over', () => {
  const dying = model(9);
  dying.connection(1)!.lost(1000, 'died', 'its process 7 died');
  const { items } = dying.timeline({ connection: 1 }, 0, 1e9, 5000);
  const over = items.flatMap((item) => (item.type === 'event' && item.queue === 0 ? item : []));
  assert.deepEqual(
    over.map(({ what, text }) => [what, text]),
    [['queue-stopped', '5 chains were with the device']],
  );
  const { queues } = dying.whole(0, false);
  assert.deepEqual([queues![0]!.counts.taken, queues![0]!.counts.used], [9, 9]);
});
