import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Live } from './live.js';
import type { Ear } from './lookout/ear.js';

const NOTHING = { looked: true, rings: [] };

/** A live source with a lookout that does nothing, and what that would say. */
function watching(process?: number): { live: Live; ear: Ear; end: () => void } {
  const live = new Live('test', () => 1, 0);
  let ear!: Ear;
  const eyes = live.join((its) => {
    ear = its;
    return { look() {}, arm() {}, run() {} };
  }, process);
  return { live, ear, end: () => live.ended(eyes) };
}

const device = {
  id: 45,
  name: 'd',
  features: 0n,
  queues: [{ name: 'q', size: 8 }],
  config: new Uint8Array(),
};
const connected = {
  type: 'connected',
  time: 0,
  connection: 1,
  socket: '/s',
  transport: 't',
  device,
} as const;
const steps = (live: Live): string[] =>
  live.model
    .connection(1)!
    .state()
    .steps.map(({ what }) => what);

test('it is busy as long as something passes that is not told of', () => {
  const { live, ear } = watching();
  ear.event(connected);
  live.tick(NOTHING);
  assert.equal(live.busy, false);
  ear.missed(1, 0, { taken: 0, waiting: 3 }, 1);
  live.tick(NOTHING);
  assert.equal(live.busy, false, 'nothing passed');
  ear.missed(1, 0, { taken: 100, waiting: 0 }, 1);
  live.tick(NOTHING);
  assert.equal(live.busy, true);
  live.tick(NOTHING);
  assert.equal(live.busy, false);
});

test('a front-end that leaves is gone, in whichever order that is heard; its process did not die', () => {
  for (const order of ['said, left, ended', 'said, ended, left', 'left, said, ended', 'left, ended']) {
    const { live, ear, end } = watching(7);
    ear.event(connected);
    for (const what of order.split(', ')) {
      if (what === 'said') ear.event({ type: 'gone', time: 2, connection: 1, error: 'it broke' });
      else if (what === 'left') live.left(1);
      else end();
    }
    assert.deepEqual(steps(live), ['connected', 'gone'], order);
    const { error } = live.model.connection(1)!.state();
    assert.equal(error, order.includes('said') ? 'it broke' : undefined);
  }
});

test('one whose process ends without a word died; its holds wait for the next one', () => {
  const { live, ear, end } = watching(7);
  ear.event(connected);
  ear.holds([{ connection: 1, queue: 0, since: 1, by: 'person', reason: 'held', waiting: 2 }]);
  end();
  assert.deepEqual(steps(live), ['connected', 'died']);
  assert.match(live.holds()[0]!.unseen ?? '', /the next one holds it/);
  let confirmed: unknown;
  let again!: Ear;
  live.join((its) => {
    again = its;
    return {
      look() {},
      arm() {},
      run() {},
      confirm(connection, holds) {
        confirmed = [connection, holds];
      },
    };
  }, 8);
  again.event({ ...connected, time: 5 });
  assert.deepEqual(steps(live), ['connected', 'died', 'goes-on']);
  assert.deepEqual(confirmed, [1, [{ queue: 0, since: 1, by: 'person', reason: 'held' }]]);
  assert.equal(live.holds().length, 0, 'the next one says itself what it holds');
});
