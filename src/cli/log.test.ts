import assert from 'node:assert/strict';
import { openSync } from 'node:fs';
import { test } from 'node:test';
import { makeLog } from './log.js';
import { Output } from './output.js';

/** An output that keeps what it is given. */
class Kept extends Output {
  text = '';

  override write(text: string): void {
    this.text += text;
  }
}

const STEERING = 'a\x1b[2J \x9b2J \u202eb';

test('JSON: what would steer a terminal is escaped, and means the same', () => {
  const output = new Kept(openSync('/dev/null', 'w'));
  makeLog(output, 'json').warn({ socket: STEERING }, STEERING);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  assert.doesNotMatch(output.text, /[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/);
  const { socket, msg } = JSON.parse(output.text) as { socket: string; msg: string };
  assert.deepEqual([socket, msg], [STEERING, STEERING]);
});

test('for people: what would steer a terminal is written out', () => {
  const output = new Kept(openSync('/dev/null', 'w'));
  makeLog(output, 'pretty').warn({ socket: STEERING }, STEERING);
  assert.match(output.text, /WARN.*: a\\x1b\[2J \\x9b2J \\u202eb \{"socket":"a\\x1b/);
});

test('what was dropped is said in the format of the log', () => {
  const output = new Kept(openSync('/dev/null', 'w'));
  makeLog(output, 'json');
  const { level, dropped, msg } = JSON.parse(output.notice(2, 'no space left on device')) as Record<
    string,
    unknown
  >;
  assert.deepEqual([level, dropped, msg], [40, 2, '2 lines were dropped: no space left on device']);
  makeLog(output, 'pretty');
  assert.match(output.notice(1, 'nobody read them'), /WARN.*: 1 line was dropped: nobody read them\n$/);
});
