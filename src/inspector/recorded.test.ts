import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { InspectEvent, SeenDevice } from '../observe/event.js';
import { Recorder } from '../record/recorder.js';
import { RecordingError } from '../record/recording-error.js';
import { Recorded } from './recorded.js';

const device: SeenDevice = {
  id: 45,
  name: 'virtio-test',
  features: 1n,
  queues: [{ name: 'print', size: 128 }],
  config: new Uint8Array(4),
};

/** A request each ms, and what belongs to it. */
function* events(count: number): Generator<InspectEvent> {
  const of = { connection: 1, queue: 0, name: 'print' };
  yield { type: 'connected', time: 0, connection: 1, socket: '/s', transport: 'vhost-user', device };
  yield { type: 'features', time: 10, connection: 1, offered: 1n << 32n, accepted: 1n << 32n };
  const ring = { size: 128, base: 0, packed: false, eventIdx: true, indirect: true, inOrder: false };
  yield { type: 'queue-started', time: 20, ...of, ...ring, descriptorArea: 0, driverArea: 0, deviceArea: 0 };
  for (let i = 1; i <= count; i++) {
    const time = i * 1e6;
    const request = new Uint8Array(48).fill(i, 0, 1);
    yield { type: 'available', time, ...of, count: 1, asked: true };
    yield { type: 'kicked', time: time + 10, ...of };
    const chain = { chain: i, head: 0 };
    yield {
      type: 'taken',
      time: time + 100,
      ...of,
      ...chain,
      readable: 48,
      writable: 12,
      descriptors: [],
      bytes: request,
    };
    yield {
      type: 'used',
      time: time + 1100,
      ...of,
      ...chain,
      consumed: 48,
      written: 12,
      bytes: new Uint8Array(12),
      taken: time + 100,
    };
    yield { type: 'interrupted', time: time + 1600, ...of };
  }
}

function recording(count: number): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  const recorder = new Recorder({ write: (blocks) => pieces.push(blocks) > 0 }, 'test', () => 1000);
  const { hear } = recorder.listener(4096);
  for (const event of events(count)) hear(event);
  recorder.flush();
  return pieces;
}

async function* from(pieces: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* pieces;
}

const turn = async (): Promise<void> => {};

test('a recording is the same as what was live: requests, their parts, and plots over all of it', async () => {
  const recorded = await Recorded.read('r', 'a.pcapng', from(recording(1200)), turn);
  const { model } = recorded;
  const whole = model.whole(Number.NEGATIVE_INFINITY, true);
  const [queue] = whole.queues!;
  assert.deepEqual([queue!.counts.taken, queue!.counts.kicks, queue!.counts.interrupts], [1200, 1200, 1200]);
  assert.deepEqual(
    whole.connections!.map(({ device, features }) => [device.name, features.at(-1)!.name]),
    [['virtio-test', 'VIRTIO_F_VERSION_1']],
  );
  const points = whole.points!;
  assert.ok(points.length > 500 && points.length <= 1200, `${points.length}`);
  assert.equal(
    points.reduce((sum, { used }) => sum + used, 0),
    1200,
  );
  const { latency } = points[300]!;
  assert.deepEqual(
    [latency!.waiting!.p50, latency!.device.p50, latency!.interrupt!.p50, latency!.total!.p99],
    [100, 1000, 500, 1600],
  );
  const { items, omitted } = model.timeline({ connection: 1, queue: 0 }, 5e6, 7.5e6, 100);
  const chains = items.flatMap((item) => (item.type === 'chain' ? item : []));
  assert.deepEqual([chains.map(({ chain }) => chain), omitted], [[5, 6, 7], 0]);
  assert.equal(model.chain(1, 0, chains[0]!.id)!.request.fields[0]!.value, '5');
  assert.equal(model.timeline({}, 0, Number.POSITIVE_INFINITY, 10).items.length, 10);
  assert.equal(recorded.ring(1, 0)!.layout, 'none');
  assert.equal(recorded.ring(2, 0), undefined);
});

test('one that is cut is shown up to there; one that is none is refused', async () => {
  const pieces = recording(50);
  const last = pieces.at(-1)!;
  const cut = await Recorded.read(
    'r',
    'cut',
    from([...pieces.slice(0, -1), last.subarray(0, last.length - 7)]),
    turn,
  );
  assert.match(cut.source.damage!, /cut|ends/);
  assert.ok(cut.model.queue(1, 0)!.state().counts.taken > 40);
  await assert.rejects(Recorded.read('r', 'x', from([new Uint8Array(100)]), turn), RecordingError);
  await assert.rejects(Recorded.read('r', 'x', from([]), turn), RecordingError);
});
