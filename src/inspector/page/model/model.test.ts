import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ConnectionState, Frame, Hello, TimelineItem } from '../../protocol.js';
import { Model } from './model.js';

const frame: Frame = { time: 1000, number: 1, missed: 0 };

function hello(state: Partial<Frame> = {}): Hello {
  const source = { id: 'live', kind: 'live', name: 'demo' } as const;
  return {
    version: 1,
    client: 1,
    source: 'live',
    sources: [source],
    title: 'demo',
    time: 1000,
    start: 0,
    epoch: 0,
    state: { ...frame, ...state },
  };
}

function connection(number: number): ConnectionState {
  return {
    connection: number,
    socket: 's',
    transport: 'loopback',
    device: { id: 45, name: 'virtio-test' },
    since: 0,
    life: 'running',
    features: [],
    negotiated: true,
    steps: [],
    config: { bytes: '', fields: [], changes: [], reads: 0 },
    queues: [],
    replaced: 0,
  };
}

const line: TimelineItem = { type: 'line', id: 7, time: 900, connection: 1, text: 'hello' };

test('a new hello replaces all that was known', () => {
  const model = new Model();
  model.begin(hello({ connections: [connection(1)], items: [line] }), 0);
  assert.equal(model.said.value.length, 1);
  model.begin(hello(), 0);
  assert.equal(model.connections.value.size, 0);
  assert.equal(model.said.value.length, 0);
  assert.equal(model.lanes.size, 0);
});

test('a connection that is forgotten takes all of its own along', () => {
  const model = new Model();
  model.begin(
    hello({
      connections: [connection(1), connection(11)],
      items: [line, { ...line, id: 8, connection: 11 }],
    }),
    0,
  );
  model.take({ ...frame, forgotten: [1] }, 0);
  assert.deepEqual([...model.connections.value.keys()], [11]);
  assert.deepEqual([...model.lanes.keys()], ['11/']);
});

test('a line that is told of twice is listed once', () => {
  const model = new Model();
  model.begin(hello({ items: [line] }), 0);
  model.add([line, { ...line, id: 3, text: 'before' }]);
  assert.deepEqual(
    model.said.value.map((one) => ('text' in one ? one.text : '')),
    ['before', 'hello'],
  );
});

test('the server’s time goes on between frames, and a recording’s stands still', () => {
  const model = new Model();
  model.begin(hello(), 400);
  assert.equal(model.time(500), 1100);
  model.take({ ...frame, time: 1300 }, 600);
  assert.equal(model.time(600), 1300);
  model.begin({ ...hello(), sources: [{ id: 'live', kind: 'recording', name: 'a' }] }, 400);
  assert.equal(model.time(9e9), 1000);
});
