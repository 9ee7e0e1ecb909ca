import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { test } from 'node:test';
import { Live } from '../live.js';
import { type News, Page } from './page.js';

/** A page that reads when it is told to. */
function reader() {
  const written: string[] = [];
  const response = {
    writableLength: 0,
    write: (text: string) => void written.push(text),
    destroy: () => void written.push('destroyed'),
  };
  let time = 0;
  const live = new Live('test', () => time, 0);
  const page = new Page(1, live, response as unknown as ServerResponse);
  const news = (members: string): News => {
    time += 1;
    return { time, members, whole: (since) => `"whole":${since}` };
  };
  const seen = (): unknown[] =>
    written.splice(0).map((text) => JSON.parse(/^event: frame\ndata: (.*)\n\n$/.exec(text)![1]!));
  return { page, response, news, seen };
}

test('a page that does not read misses frames, hears how many, and then all there is', () => {
  const { page, response, news, seen } = reader();
  assert.ok(page.send(news('"items":[]'), 0));
  assert.deepEqual(seen(), [{ time: 1, number: 1, missed: 0, items: [] }]);
  response.writableLength = 2 << 20;
  for (let i = 1; i < 20; i++) assert.ok(page.send(news('"items":[]'), 50 * i));
  // Nothing is kept for it.
  assert.deepEqual(seen(), []);
  response.writableLength = 0;
  page.send(news('"items":[]'), 1000);
  page.send(news('"items":[]'), 1050);
  assert.deepEqual(seen(), [
    { time: 21, number: 21, missed: 19, whole: 1 },
    { time: 22, number: 22, missed: 19, items: [] },
  ]);
});

test('one that reads nothing for a minute is let go', () => {
  const { page, response, news } = reader();
  page.send(news('"items":[]'), 0);
  response.writableLength = 2 << 20;
  assert.ok(page.send(news('"items":[]'), 59_000));
  assert.ok(!page.send(news('"items":[]'), 61_000));
});

test('without news there is a frame a second', () => {
  const { page, news, seen } = reader();
  for (let now = 0; now <= 3000; now += 50) page.send(news(''), now);
  assert.equal(seen().length, 3);
});
