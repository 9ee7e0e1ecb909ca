import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  truncateSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Output } from './output.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** A pipe: what an output is given, and its reader, who takes what is there. */
function pipe(): { fd: number; read(): string; close(): void; reader: number } {
  const path = join(folder, 'pipe');
  execFileSync('mkfifo', [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const fd = openSync(path, constants.O_WRONLY);
  const buffer = Buffer.alloc(1 << 20);
  return {
    fd,
    reader,
    read() {
      let text = '';
      try {
        for (let n = readSync(reader, buffer); n > 0; n = readSync(reader, buffer))
          text += buffer.toString('utf8', 0, n);
      } catch (error) {
        assert.equal((error as NodeJS.ErrnoException).code, 'EAGAIN');
      }
      return text;
    },
    close() {
      closeSync(fd);
      closeSync(reader);
    },
  };
}

const line = (i: number): string => `${`${i}`.padStart(9, '0')} ${'x'.repeat(89)}\n`;

test('lines go out in order, those of one turn in one piece', async () => {
  const { fd, read, close } = pipe();
  const output = new Output(fd);
  for (let i = 0; i < 100; i++) output.write(line(i));
  assert.equal(read(), '');
  await output.end(10_000);
  assert.equal(read(), Array.from({ length: 100 }, (_, i) => line(i)).join(''));
  output.close();
  close();
});

test('a reader that does not read: nothing waits for it, what it missed is counted, and said when it reads again', async () => {
  const { fd, read, close } = pipe();
  const output = new Output(fd, 100_000);
  let full = 0;
  for (let i = 0; i < 10_000; i++) {
    if (output.full()) full += 1;
    else output.write(line(i));
    if (i % 100 === 0) await turn();
  }
  assert.ok(full > 5_000);
  let text = '';
  while (!text.includes('dropped')) {
    text += read();
    await turn();
  }
  output.write('last\n');
  while (!text.endsWith('last\n')) {
    text += read();
    await turn();
  }
  const lines = text.split('\n').slice(0, -1);
  const notice = lines.findIndex((said) => said.startsWith('virtio-misc: '));
  assert.equal(lines[notice], `virtio-misc: ${full} lines were dropped: nobody read them`);
  lines.slice(0, notice).forEach((said, i) => {
    assert.equal(`${said}\n`, line(i));
  });
  assert.equal(notice + full, 10_000);
  assert.deepEqual(lines.slice(notice + 1), ['last']);
  output.close();
  close();
});

test('what several write to one pipe stays in whole lines, however slowly it is read', async () => {
  const { fd, read, close } = pipe();
  const outputs = [new Output(fd), new Output(fd)];
  let text = '';
  for (let i = 0; i < 8000; i++) for (const output of outputs) output.write(line(i));
  const all = 2 * 8000 * line(0).length;
  while (text.length < all) {
    await turn();
    text += read();
  }
  const lines = text.split('\n');
  assert.ok(lines.slice(0, -1).every((one) => one.length === line(0).length - 1));
  for (const output of outputs) output.close();
  close();
});

test('a reader that does not read holds the end up for no longer than told', async () => {
  const { fd, close } = pipe();
  const output = new Output(fd);
  output.write('x'.repeat(200_000));
  await output.end(20);
  output.close();
  close();
});

test('a reader that went: another goes on where it left, and is told what was dropped in between', async () => {
  const path = join(folder, 'pipe');
  const { fd, reader } = pipe();
  const output = new Output(fd, 200_000);
  for (let i = 0; i < 1000; i++) output.write(line(i));
  await output.end(1);
  closeSync(reader);
  await output.end(10_000);
  for (let i = 1000; i < 3000; i++) output.write(line(i));
  await output.end(1);
  const next = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const buffer = Buffer.alloc(1 << 20);
  let text = '';
  while (!text.includes('dropped')) {
    await output.end(1);
    try {
      text += buffer.toString('utf8', 0, readSync(next, buffer));
    } catch {
      await turn();
    }
  }
  // What was in the pipe is for whoever reads next.
  const said = text.split('\n').slice(0, -1);
  const notice = said.findIndex((words) => words.startsWith('virtio-misc: '));
  said.slice(0, notice).forEach((words, i) => {
    assert.equal(`${words}\n`, line(i));
  });
  assert.equal(
    said[notice],
    `virtio-misc: ${3000 - notice} lines were dropped: nobody was there to read them`,
  );
  closeSync(next);
  output.close();
  closeSync(fd);
});

test('a file that has no more room: lines are kept, then counted, and written when there is room', async () => {
  const path = join(folder, 'file');
  const script = join(folder, 'script.mjs');
  const module = fileURLToPath(new URL('./output.js', import.meta.url));
  rmSync(script, { force: true });
  // The kernel lets this process's files grow to 8 KiB: as a full disk, but not for all.
  const child = spawn(
    'bash',
    [
      '-c',
      `ulimit -f 8; exec "$0" --input-type=module -e "$1" >>"$2"`,
      process.execPath,
      `import { Output } from ${JSON.stringify(module)};
       const output = new Output(1, 20000);
       for (let i = 0; i < 1000; i++) output.write(\`\${i}\`.padStart(9, '0') + ' ' + 'x'.repeat(89) + '\\n');
       await output.end(1000);
       console.error('full');
       process.stdin.once('data', async () => { await output.end(10000); process.exit(); });`,
      path,
    ],
    { stdio: ['pipe', 'ignore', 'pipe'] },
  );
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text;
  });
  try {
    while (!errors.includes('full')) await Promise.race([once(child.stderr, 'data'), once(child, 'exit')]);
    const before = readFileSync(path, 'utf8');
    assert.equal(before.length, 8192);
    truncateSync(path);
    child.stdin.write('go\n');
    // The rest does not fit again: one more time.
    await once(child, 'exit');
    assert.equal(errors, 'full\n');
    const all = before + readFileSync(path, 'utf8');
    all
      .split('\n')
      .slice(0, -1)
      .forEach((said, i) => {
        assert.equal(`${said}\n`, line(i));
      });
    assert.ok(all.length > before.length);
  } finally {
    child.kill('SIGKILL');
  }
});
