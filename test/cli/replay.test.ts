import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { connectVfioUser, connectVhostUser } from '../../src/connect.js';
import { MiscDriver, TestDriver } from '../../src/index.js';
import { start, virtioMisc } from '../virtio-misc.js';
import { children, ends, folder, serving, socket, until } from './servers.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** Records requests of types 10 to 12 to virtio-test. */
async function recorded(): Promise<string> {
  const file = join(folder, 'test.pcapng');
  const child = await serving(['test', '--quiet', '--record', file]);
  const driver = await TestDriver.open(await connectVhostUser(socket));
  for (const type of [10, 11, 12]) await driver.write(type);
  await driver.close();
  await ends(child, 'SIGTERM');
  return file;
}

/** A device of one's own that answers as virtio-test, but for one argument. */
const PLANTED = `import { defineDevice, sle32, struct, structQueue, text } from 'virtio-misc';
export default defineDevice({
  id: 45, name: 'planted', features: { CAN_PRINT: 0 },
  config: { struct: struct({ num_pages: sle32, actual: sle32, event: sle32 }), writable: ['actual', 'event'] },
  queues: [structQueue({
    name: 'print', size: 128,
    request: struct({ type: sle32, arg1: sle32, arg2: sle32, arg3: sle32, arg4: text(32) }),
    response: struct({ ret: sle32, arg1: sle32, arg2: sle32 }),
    handle: ({ arg1, arg2, arg3 }) => ({ ret: arg1 + 100, arg1: arg2 + (arg1 === 12 ? 101 : 100), arg2: arg3 + 100 }),
  })],
});
`;

test('replay says that all is as recorded, or which answer is another one first, with the fields', async () => {
  const file = await recorded();
  const same = await virtioMisc('replay', file);
  assert.deepEqual([same.code, same.stderr], [0, '']);
  assert.deepEqual(same.lines, ['virtio-test, connection 1: 3 answers, all as recorded']);
  const planted = join(folder, 'planted.mjs');
  writeFileSync(planted, PLANTED);
  const other = await virtioMisc('replay', file, planted);
  assert.deepEqual([other.code, other.stderr], [1, '']);
  assert.match(
    other.lines[0]!,
    /^virtio-test, connection 1: after 0\.\d{9} s, and 2 answers: print: chain 2 is answered otherwise$/,
  );
  assert.deepEqual(other.lines.slice(1), [
    '    request   48 B: type=11 arg1=12 arg2=13 arg3=14 arg4="hello back end!"',
    '    recorded  12 B: ret=112 arg1=113 arg2=114',
    '    replayed  12 B: ret=112 arg1=114 arg2=114',
    '    differs   arg1: 113 was recorded, 114 came',
  ]);
});

test('replay --as-test writes a test that passes, and fails with the planted bug', async () => {
  const file = await recorded();
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(ROOT, join(folder, 'node_modules/virtio-misc'));
  const run = (written: string): number | null =>
    spawnSync(process.execPath, ['--test', written], {
      cwd: folder,
      stdio: 'pipe',
      env: { PATH: process.env.PATH },
    }).status;
  const shipped = join(folder, 'echo.test.mjs');
  const { code, lines } = await virtioMisc('replay', file, '--as-test', shipped);
  assert.deepEqual([code, lines], [0, [`wrote ${shipped}: node --test ${shipped}`]]);
  assert.match(readFileSync(shipped, 'utf8'), /bench\.request\("print", bytes\('0a000000/);
  assert.equal(run(shipped), 0);
  const planted = join(folder, 'planted.mjs');
  writeFileSync(planted, PLANTED);
  const own = join(folder, 'planted.test.mjs');
  assert.equal((await virtioMisc('replay', file, planted, '--as-test', own)).code, 0);
  assert.match(readFileSync(own, 'utf8'), /^import makeDevice from "\.\/planted\.mjs";$/m);
  assert.equal(run(own), 1);
  const again = await virtioMisc('replay', file, '--as-test', shipped);
  assert.equal(again.code, 1);
  assert.match(again.stderr, /echo\.test\.mjs is there already: take another name/);
});

test('timers that a driver set: replayed, as a test, and against a server', async () => {
  const file = join(folder, 'misc.pcapng');
  const vfio = join(folder, 'vfio.sock');
  const child = start(['serve', 'misc', '--quiet', '--vfio-user', vfio, '--record', file, '--log', 'json']);
  children.push(child);
  let log = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    log += text;
  });
  await until(() => log.includes('serving') || child.exitCode !== null);
  const driver = await MiscDriver.open(await connectVfioUser(vfio));
  for (const ms of [30, 10, 20])
    await new Promise<void>((done) => void driver.setTimer(ms, () => done(), undefined));
  const timer = await driver.setTimer(60_000, () => {}, undefined);
  await timer.cancel();
  await driver.close();
  const { code, stderr, lines } = await virtioMisc('replay', file, '--against', vfio);
  assert.deepEqual([code, stderr], [0, '']);
  assert.match(lines[0]!, /^virtio-misc, connection 1: 8 answers, all as recorded$/);
  await ends(child, 'SIGTERM');
  // The player's own connection was recorded too.
  const replayed = await virtioMisc('replay', file, '--connection', '1');
  assert.deepEqual(
    [replayed.code, replayed.lines],
    [0, ['virtio-misc, connection 1: 8 answers, all as recorded']],
  );
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(ROOT, join(folder, 'node_modules/virtio-misc'));
  const written = join(folder, 'misc.test.mjs');
  assert.equal((await virtioMisc('replay', file, '--connection', '1', '--as-test', written)).code, 0);
  const env = { PATH: process.env.PATH };
  const run = spawnSync(process.execPath, ['--test', written], { cwd: folder, encoding: 'utf8', env });
  assert.equal(run.status, 0, `${run.stdout}\n${readFileSync(written, 'utf8')}`);
});

test('replay --against a back end that answers otherwise, and one that is not there', async () => {
  const file = await recorded();
  const planted = join(folder, 'planted.mjs');
  writeFileSync(planted, PLANTED);
  const child = await serving([planted, '--no-type-check']);
  const { code, lines } = await virtioMisc('replay', file, '--against', socket);
  assert.equal(code, 1);
  assert.match(
    lines.join('\n'),
    /print: chain 2 is answered otherwise[\s\S]*differs {3}arg1: 113 was recorded, 114 came/,
  );
  await ends(child, 'SIGTERM');
  const none = await virtioMisc('replay', file, '--against', join(folder, 'none.sock'));
  assert.equal(none.code, 1);
  assert.match(none.stderr, /none\.sock/);
  assert.doesNotMatch(none.stderr, /^ +at /m);
});

test('what can not be replayed is said in a line', async () => {
  const file = await recorded();
  for (const [args, says] of [
    [[file, 'misc'], /the recording is of virtio-test \(id 45\), and this is virtio-misc \(id 70\)/],
    [[file, 'misc', '--as-test', join(folder, 'x.mjs')], /the recording is of virtio-test \(id 45\)/],
    [[file, '--connection', '7'], /there is no connection '7' in .*: take one of 1/],
    [[file, '--against', 'a', '--as-test', 'b'], /--as-test and --against: take one of them/],
    [[file, 'test', '--against', 'a'], /leave the device out/],
    [[join(folder, 'none')], /there is no file/],
  ] as const) {
    const { code, stderr } = await virtioMisc('replay', ...args);
    assert.equal(code, 1);
    assert.match(stderr, says);
    assert.doesNotMatch(stderr, /^ +at /m);
  }
  truncateSync(file, readFileSync(file).length - 4);
  const cut = await virtioMisc('replay', file);
  assert.deepEqual([cut.code, cut.lines], [1, ['virtio-test, connection 1: 3 answers, all as recorded']]);
  assert.match(cut.stderr, /the recording is cut/);
});

test('a recording over packed rings is replayed over packed rings', async () => {
  const file = join(folder, 'packed.pcapng');
  const child = await serving(['test', '--quiet', '--features', 'packed,in-order', '--record', file]);
  const driver = await TestDriver.open(await connectVhostUser(socket));
  await Promise.all(Array.from({ length: 500 }, (_, type) => driver.write(type)));
  await driver.close();
  await ends(child, 'SIGTERM');
  assert.deepEqual((await virtioMisc('replay', file)).lines, [
    'virtio-test, connection 1: 500 answers, all as recorded',
  ]);
  const shown = (await virtioMisc('show', file)).lines;
  assert.ok(shown.some((line) => line.includes('print: started') && line.includes('packed')));
});
