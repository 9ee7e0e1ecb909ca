import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SharedScreen } from './shared-screen.js';

/** What was written to a terminal. */
function screen(): { screen: SharedScreen; written: () => string } {
  let text = '';
  const shared = new SharedScreen((piece) => {
    text += piece;
  });
  return {
    screen: shared,
    written() {
      const written = text;
      text = '';
      return written;
    },
  };
}

test('a line that comes while the shell has an empty line is written as it is', () => {
  const { screen: shared, written } = screen();
  shared.shell('hello\r\n');
  shared.lines('adder | 2 + 3\n');
  assert.equal(written(), 'hello\r\nadder | 2 + 3\n');
});

test('a prompt and what is typed after it move down for a line', () => {
  const { screen: shared, written } = screen();
  shared.shell('hello\r\nguest:~# ');
  shared.shell('echo x');
  written();
  shared.lines('adder | 2 + 3\n');
  assert.equal(written(), '\r\x1b[Kadder | 2 + 3\nguest:~# echo x');
  shared.shell('\r\nx\r\n');
  written();
  shared.lines('again\n');
  assert.equal(written(), 'again\n');
});

test('a question of the shell to the terminal is not asked again', () => {
  const { screen: shared, written } = screen();
  shared.shell('guest:~# \x1b[6n');
  assert.equal(written(), 'guest:~# \x1b[6n');
  shared.lines('line\n');
  assert.equal(written(), '\r\x1b[Kline\nguest:~# ');
});

test('lines wait while an editor has the other screen; the oldest of too many are counted', () => {
  const { screen: shared, written } = screen();
  shared.shell('guest:~# vi\r\n\x1b[?1049h\x1b[H~');
  written();
  for (let i = 0; i < 1002; i++) shared.lines(`line ${i}\n`);
  assert.equal(written(), '');
  shared.shell('\x1b[?1049l');
  const lines = written().split('\n');
  assert.equal(lines[0], '\x1b[?1049lvirtio-misc: 2 lines came meanwhile that are not shown');
  assert.deepEqual(lines.slice(1, 3), ['line 2', 'line 3']);
  assert.equal(lines.length, 1002);
  shared.lines('now\n');
  assert.equal(written(), 'now\n');
});

test('a line without end does not grow in memory', () => {
  const { screen: shared, written } = screen();
  for (let i = 0; i < 100; i++) shared.shell('x'.repeat(1000));
  written();
  shared.lines('line\n');
  assert.ok(written().length < 5000);
});
