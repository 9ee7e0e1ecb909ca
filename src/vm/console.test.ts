import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { writeSync } from 'node:fs';
import { test } from 'node:test';
import { ConsolePipe } from './console.js';

function consolePipe(line: (line: string) => void): ConsolePipe {
  const pipe = new ConsolePipe();
  pipe.hear(line);
  return pipe;
}

test('lines come whole, without their CR, the last one too; the pipe ends with its writer', async () => {
  const lines: string[] = [];
  const pipe = consolePipe((line) => lines.push(line));
  const child = spawn('printf', ['one\\r\\ntw\\303\\251\\n\\nlast'], {
    stdio: ['ignore', pipe.writeEnd, 'inherit'],
  });
  pipe.handOver();
  await pipe.ended;
  assert.deepEqual(lines, ['one', 'twé', '', 'last']);
  assert.notEqual(child.pid, undefined);
});

test('draining delivers at once what has been written', async () => {
  const lines: string[] = [];
  const pipe = consolePipe((line) => lines.push(line));
  writeSync(pipe.writeEnd, 'a\nb');
  pipe.drain();
  assert.deepEqual(lines, ['a']);
  writeSync(pipe.writeEnd, '\nc\n');
  pipe.drain();
  pipe.drain();
  assert.deepEqual(lines, ['a', 'b', 'c']);
  pipe.handOver();
  await pipe.ended;
  pipe.drain();
  assert.deepEqual(lines, ['a', 'b', 'c']);
});

test('an unfinished line is delivered when it is asked for, once', async () => {
  const lines: string[] = [];
  const pipe = consolePipe((line) => lines.push(line));
  writeSync(pipe.writeEnd, 'a\nb');
  pipe.drain(true);
  pipe.drain(true);
  assert.deepEqual(lines, ['a', 'b']);
  writeSync(pipe.writeEnd, 'c\n');
  pipe.handOver();
  await pipe.ended;
  assert.deepEqual(lines, ['a', 'b', 'c']);
});

test('a line that never ends is delivered in pieces', async () => {
  let length = 0;
  const pipe = consolePipe((line) => {
    assert.ok(line.length <= 128 * 1024);
    length += line.length;
  });
  spawn('head', ['-c', '1000000', '/dev/zero'], { stdio: ['ignore', pipe.writeEnd, 'inherit'] });
  pipe.handOver();
  await pipe.ended;
  assert.equal(length, 1_000_000);
});

test('what arrives while a line is delivered comes after it, once, in order', async () => {
  const lines: string[] = [];
  const pipe: ConsolePipe = consolePipe((line) => {
    lines.push(line);
    if (line === '1') writeSync(pipe.writeEnd, '4\n5\n');
    // As a caller does that prints something of its own for each line.
    pipe.drain();
  });
  writeSync(pipe.writeEnd, '1\n2\n3\n');
  pipe.drain();
  assert.deepEqual(lines, ['1', '2', '3', '4', '5']);
  pipe.handOver();
  await pipe.ended;
});
