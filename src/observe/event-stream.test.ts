import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { InspectEvent } from './event.js';
import { EventStream } from './event-stream.js';

const line = (text: string): InspectEvent => ({ type: 'line', time: 1, connection: 1, text });

test('events come in order, kept until they are read; after the end there are none', async () => {
  let left = 0;
  const stream = new EventStream(1e6, () => left++);
  const first = stream.next();
  stream.hear(line('a'));
  stream.hear(line('b'));
  stream.end();
  stream.hear(line('c'));
  const read: string[] = [((await first).value as { text: string }).text];
  for await (const event of stream) if (event.type === 'line') read.push(event.text);
  assert.deepEqual(read, ['a', 'b']);
  assert.equal(left, 1);
});

test('a reader who is slow loses events, and hears how many', async () => {
  const stream = new EventStream(1024, () => {});
  for (let i = 0; i < 10; i++) stream.hear(line(`${i}`));
  const next = async (): Promise<InspectEvent> => (await stream.next()).value;
  assert.deepEqual([await next(), await next()], [line('0'), line('1')]);
  // Still more than half of it is taken.
  stream.hear(line('x'));
  await next();
  stream.hear(line('y'));
  assert.deepEqual(
    [await next(), await next(), await next()],
    [line('3'), { type: 'dropped', time: 1, connection: 1, count: 7 }, line('y')],
  );
});

test('a signal ends the wait, and the reading', async () => {
  let left = 0;
  const stop = new AbortController();
  const stream = new EventStream(1024, () => left++, { signal: stop.signal });
  const waiting = assert.rejects(stream.next(), /enough/);
  stop.abort(new Error('enough'));
  await waiting;
  await assert.rejects(stream.next(), /enough/);
  assert.equal(left, 1);
});

test('who stops reading has left', async () => {
  let left = 0;
  const stream = new EventStream(1024, () => left++);
  stream.hear(line('a'));
  for await (const _ of stream) break;
  assert.equal(left, 1);
  assert.deepEqual(await stream.next(), { value: undefined, done: true });
});

test('what was left out last is said at the end', async () => {
  const stream = new EventStream(300, () => {});
  for (let i = 0; i < 5; i++) stream.hear(line(`${i}`));
  stream.end();
  const read: InspectEvent[] = [];
  for await (const event of stream) read.push(event);
  assert.deepEqual(read, [line('0'), line('1'), { type: 'dropped', time: 1, connection: 1, count: 3 }]);
});
