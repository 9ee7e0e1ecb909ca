import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { ConsolePipe } from '../vm/console.js';
import { InsertReader } from '../vm/inserts.js';
import { consoleVariable, type Said, saidIn } from './console-line.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** A process that has a line to this pipe. @param code - `line` is it. */
function worker(pipe: Pick<ConsolePipe, 'path' | 'mark'>, code: string): ReturnType<typeof spawn> {
  const url = new URL('./console-line.js', import.meta.url).href;
  const text = `import { ConsoleLine } from ${JSON.stringify(url)}; const line = ConsoleLine.find(); ${code}`;
  return spawn(process.execPath, ['--input-type=module', '-e', text], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    env: { ...process.env, ...consoleVariable(pipe.path, pipe.mark) },
  });
}

test('lines of devices, the log, and what is written to the standard streams come as such', async () => {
  const said: (Said | undefined)[] = [];
  const pipe = new ConsolePipe({ folder, inserted: (bytes) => said.push(saidIn(bytes)) });
  const code = `
    line.print('virtio-test')('two\\u00e9');
    line.write('{"level":30}\\n');
    console.log('out');
    console.error('err');
    line.print('virtio-test')('x'.repeat(9000));
    if (process.env.VIRTIO_MISC_CONSOLE !== undefined) line.write('a child would have it');
    process.disconnect();
  `;
  await once(worker(pipe, code), 'exit');
  pipe.close();
  assert.deepEqual(said, [
    { what: 'line', device: 'virtio-test', text: 'twoé' },
    { what: 'log', text: '{"level":30}\n' },
    { what: 'out', text: 'out\n' },
    { what: 'err', text: 'err\n' },
    { what: 'line', device: 'virtio-test', text: 'x'.repeat(9000) },
  ]);
});

test('a pipe that nobody reads keeps nobody waiting: what finds no room is dropped, and counted where it would have been', async () => {
  const path = join(folder, 'unread');
  execFileSync('mkfifo', [path]);
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  const said: Said[] = [];
  const reader = new InsertReader(
    () => assert.fail('what no guest printed'),
    (bytes) => said.push(saidIn(bytes)!),
  );
  const code = `
    line.notice = (count) => 'dropped ' + count;
    const print = line.print('d');
    for (let n = 0; n < 100_000; n++) if (!print.full()) print(n + ' '.repeat(40));
    process.send('written');
    process.on('message', () => {});
  `;
  const child = worker({ path, mark: reader.mark }, code);
  await once(child, 'message');
  const bytes = Buffer.alloc(1 << 16);
  while (said.at(-1)?.what !== 'log') {
    try {
      reader.push(Buffer.from(bytes.subarray(0, readSync(fd, bytes))));
    } catch {
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  closeSync(fd);
  child.kill('SIGKILL');
  const lines = said.slice(0, -1).map(({ text }) => Number(text));
  assert.deepEqual(
    lines,
    lines.map((_, index) => index),
    'the first ones, in their order',
  );
  assert.equal(said.at(-1)!.text, `dropped ${100_000 - lines.length}`);
});
