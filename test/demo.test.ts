import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { linesOfPicture } from '../scripts/terminal-picture.js';

const DEMO = fileURLToPath(new URL('../examples/demo.js', import.meta.url));
const run = promisify(execFile);

/** What makes this machine look like one without Linux's system calls. */
const ELSEWHERE = `data:text/javascript,${encodeURIComponent(`
  import { register } from 'node:module';
  register('data:text/javascript,' + encodeURIComponent(
    "export async function resolve(s, c, next) { if (s === 'koffi') throw new Error('no koffi'); return next(s, c); }"));
  Object.defineProperty(process, 'platform', { value: 'darwin' });
`)}`;

const TRANSCRIPTS = [
  /device {2}QEMU_BACK_END: >>> get arg3 \[ hello back end! \] form the front end <<</,
  /driver {2}virtio response arg2 is 113/,
  /device {2}==============set config:2\n.*virttest_changed\n.*get config change\n.*=========get virtio num:3\n.*get ack/,
  /func\(250\) called[\s\S]*func\(500\) called[\s\S]*func\(1000\) called/,
  /All as designed[\s\S]*✔ no timer is early/,
];

test('the demo shows both transcripts and timers over sockets', async () => {
  const { stdout } = await run(process.execPath, [DEMO]);
  for (const part of TRANSCRIPTS) assert.match(stdout, part);
});

test("the README's picture shows what the demo prints, but for the times", async () => {
  const { stdout } = await run(process.execPath, [DEMO]);
  const picture = readFileSync(new URL('../../docs/demo.svg', import.meta.url), 'utf8');
  assert.ok(picture.length < 20_000);
  const [prompt, ...shown] = linesOfPicture(picture);
  assert.equal(prompt, '$ npm run demo');
  const timeless = (line: string): string => line.replace(/[\d.]+ ms late|ticked \d+/, '');
  assert.deepEqual(shown.map(timeless), stdout.trimEnd().split('\n').map(timeless));
});

test('where there is no Linux it runs over loopback, and says so', async () => {
  const { stdout } = await run(process.execPath, ['--import', ELSEWHERE, DEMO]);
  assert.match(stdout, /Over loopback.*darwin has no vhost-user/);
  for (const part of TRANSCRIPTS) assert.match(stdout, part);
});
