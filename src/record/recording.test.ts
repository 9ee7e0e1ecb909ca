import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { InspectEvent } from '../observe/event.js';
import { le32, struct } from '../virtio/struct.js';
import { eventLine } from './event-line.js';
import { Recorder } from './recorder.js';
import { RecordingError } from './recording-error.js';
import { RecordingReader } from './recording-reader.js';

const at = { time: 0, connection: 1 };
const q = { ...at, queue: 1, name: 'eventq' };
const N = struct({ n: le32 });

/** One of each kind. */
const EVENTS: readonly InspectEvent[] = [
  {
    type: 'connected',
    ...at,
    socket: '/tmp/x',
    transport: 'vhost-user',
    device: {
      id: 63,
      name: 'mine',
      features: 1n << 100n,
      queues: [
        { name: 'askq', size: 8, shape: { request: N, response: N } },
        { name: 'eventq', size: 128 },
      ],
      config: Uint8Array.of(1, 2),
    },
  },
  { type: 'features', ...at, accepted: (1n << 100n) | 5n, offered: (1n << 127n) | 7n },
  { type: 'status', ...at, status: 15 },
  ...(['running', 'paused', 'reset', 'rang'] as const).map((type): InspectEvent => ({ type, ...at })),
  {
    ...{ type: 'queue-started', ...q, size: 128, base: 0x8000_8000 },
    ...{ packed: true, eventIdx: false, indirect: true, inOrder: false },
    ...{ descriptorArea: 2 ** 52, driverArea: 4096, deviceArea: 8192 },
  },
  { type: 'queue-stopped', ...q, base: 5 },
  { type: 'config-read', ...at, offset: 4, bytes: Uint8Array.of(1, 2, 3) },
  { type: 'config-written', ...at, offset: 0, bytes: Uint8Array.of(9) },
  { type: 'config-changed', ...at, bytes: new Uint8Array() },
  { type: 'available', ...q, count: 3, asked: true },
  { type: 'available', ...q, count: 1, asked: false },
  { type: 'kicked', ...q },
  {
    ...{ type: 'taken', ...q, chain: 1, head: 5, readable: 4, writable: 70_000 },
    descriptors: [
      { address: 2 ** 50, length: 4, writable: false },
      { address: 4096, length: 70_000, writable: true },
    ],
    bytes: Uint8Array.of(1, 2, 3, 4),
  },
  {
    type: 'used',
    ...q,
    chain: 1,
    head: 5,
    consumed: 4,
    written: 3,
    bytes: Uint8Array.of(7, 8),
    taken: -1500,
  },
  { type: 'interrupted', ...q },
  { type: 'interrupted', ...at },
  { type: 'interrupt-suppressed', ...q },
  { type: 'broken', ...q, rule: '2.7.6', error: 'head index 200' },
  { type: 'broken', ...at, error: 'it failed' },
  { type: 'line', ...at, text: 'grüße \x1b[31m' },
  { type: 'warning', ...at, text: '' },
  {
    type: 'replaced',
    ...at,
    device: { id: 63, name: 'mine', features: 0n, queues: [], config: new Uint8Array() },
  },
  { type: 'dropped', ...at, count: 77 },
  { type: 'gone', ...at, error: 'it broke the protocol' },
  { type: 'gone', ...at },
];

/** Events as a file. */
function recorded(events: readonly InspectEvent[]): Uint8Array {
  const pieces: Uint8Array[] = [];
  const recorder = new Recorder({ write: (blocks) => pieces.push(blocks) > 0 }, 'a test', () => 1.7e12);
  const { hear } = recorder.listener(64);
  for (const event of events) hear(event);
  recorder.flush();
  return Buffer.concat(pieces);
}

/** What a file says, read in pieces of that size, and what is wrong with it. */
function read(
  file: Uint8Array,
  piece = file.length,
): { events: InspectEvent[]; error?: RecordingError; start?: bigint } {
  const reader = new RecordingReader();
  const events: InspectEvent[] = [];
  const start = (): { start?: bigint } => (reader.start === undefined ? {} : { start: reader.start });
  try {
    for (let from = 0; from < file.length; from += piece) {
      reader.push(file.subarray(from, from + piece));
      for (let event = reader.next(); event !== undefined; event = reader.next()) events.push(event);
    }
    reader.end();
  } catch (error) {
    assert.ok(error instanceof RecordingError, `${error}`);
    return { events, error, ...start() };
  }
  return { events, ...start() };
}

test('every kind of event comes back from a file as it was', () => {
  const { events, error, start } = read(recorded(EVENTS.slice(0, -1)));
  assert.equal(error, undefined);
  assert.equal(start, 1_700_000_000_000_000_000n);
  assert.equal(events.length, EVENTS.length - 1);
  for (const [index, event] of events.entries()) {
    const expected = EVENTS[index]!;
    if (event.type === 'connected' && expected.type === 'connected') {
      const [asked] = event.device.queues;
      assert.deepEqual(asked!.shape!.request.decode(Uint8Array.of(5, 0, 0, 0)), { n: 5 });
      assert.deepEqual({ ...event.device, queues: [] }, { ...expected.device, queues: [] });
    } else assert.deepEqual(event, expected);
  }
});

test('times are exact to the nanosecond, far from the start too', () => {
  const times = [5, 6, 4_294_967_296, 4_294_967_301, 2 ** 52];
  const { events } = read(recorded(times.map((time) => ({ type: 'rang', connection: 1, time }))));
  assert.deepEqual(
    events.map(({ time }) => time),
    times.map((time) => time - 5),
  );
});

test('a file that is cut anywhere, or read in any pieces: the events before that, and where it ends', () => {
  const file = recorded(EVENTS);
  const whole = read(file).events;
  for (let length = 0; length < file.length; length += 7) {
    const { events, error } = read(file.subarray(0, length), 100);
    assert.deepEqual(events, whole.slice(0, events.length));
    if (error !== undefined) assert.ok(error.offset <= length && /at byte \d+/.test(error.message));
  }
});

test('a file with any byte changed is read up to there, or differs; it never throws anything else', () => {
  const file = recorded(EVENTS);
  fc.assert(
    fc.property(fc.nat(file.length - 1), fc.integer({ min: 1, max: 255 }), (place, flip) => {
      const damaged = Uint8Array.from(file);
      damaged[place]! ^= flip;
      const { events } = read(damaged);
      for (const event of events) eventLine(event, undefined);
    }),
    { numRuns: 500 },
  );
});

test('hostile texts steer no terminal, and are cut where they are too long', () => {
  const line = eventLine(
    { type: 'line', ...at, text: `\x1b]0;owned\x07\u202e${'<script>'.repeat(8192)}` },
    undefined,
  );
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  assert.doesNotMatch(line, /[\x00-\x1f\x7f-\x9f\u202e]/);
  assert.ok(line.length < 2100 && /\(\d+ more\)$/.test(line));
});

test('where there is no room, events are left out, and the file says how many', () => {
  const pieces: Uint8Array[] = [];
  let full = false;
  const write = (blocks: Uint8Array): boolean => !full && pieces.push(blocks) > 0;
  const recorder = new Recorder({ write }, 'a test', () => 0);
  const { hear } = recorder.listener(64);
  const line = (text: string): void => hear({ type: 'line', ...at, text });
  line('a');
  recorder.flush();
  full = true;
  for (const text of ['b', 'c', 'd']) line(text);
  recorder.flush();
  line('e');
  recorder.flush();
  full = false;
  line('f');
  recorder.flush();
  assert.equal(recorder.dropped, 4);
  assert.deepEqual(
    read(Buffer.concat(pieces)).events.map((event) =>
      'text' in event ? event.text : 'count' in event && event.count,
    ),
    ['a', 4, 'f'],
  );
});
