import assert from 'node:assert/strict';
import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { connectVhostUser } from '../../src/connect.js';
import { TestDriver } from '../../src/devices/test/driver.js';
import type { InspectEvent } from '../../src/observe/event.js';
import { Recorder } from '../../src/record/recorder.js';
import { virtioMisc } from '../virtio-misc.js';
import { ends, folder, serving, socket } from './servers.js';

/** Records requests of types 10 to 12, and ends the server. */
async function recorded(...args: string[]): Promise<string> {
  const file = join(folder, 'test.pcapng');
  const child = await serving(['test', '--quiet', '--record', file, ...args]);
  const driver = await TestDriver.open(await connectVhostUser(socket));
  for (const type of [10, 11, 12]) await driver.write(type);
  await driver.close();
  assert.deepEqual(await ends(child, 'SIGTERM'), [0, null]);
  return file;
}

test('serve --record writes what show reads: requests and answers by their fields, for this user alone', async () => {
  const file = await recorded();
  assert.equal(statSync(file).mode & 0o777, 0o600);
  const { code, lines, stderr } = await virtioMisc('show', file);
  assert.deepEqual([code, stderr], [0, '']);
  const said = lines.map((line) => line.replace(/^ *\d+\.\d{9} {2}1 {2}/, ''));
  assert.match(said[0]!, /^connected over vhost-user at .*device\.sock: virtio-test \(id 45\) with print$/);
  assert.ok(
    said.includes(
      'print: #1 taken: in 48 B: type=10 arg1=11 arg2=12 arg3=13 arg4="hello back end!", room for 12 B',
    ),
    lines.join('\n'),
  );
  assert.ok(
    said.some((line) => /^print: #1 used: out 12 B: ret=111 arg1=112 arg2=113 \| [\d.]+ us$/.test(line)),
  );
  assert.ok(said.includes('prints: QEMU_BACK_END: >>> get type [ 12 ] form the front end <<<'));
  assert.equal(said.at(-1), 'gone');
});

test('show filters by queue and time, and has each event as JSON', async () => {
  const file = await recorded('--record-bytes', '4K');
  const all = (await virtioMisc('show', file, '--json')).lines.map((line) => JSON.parse(line));
  const taken = all.filter(({ type }) => type === 'taken');
  assert.deepEqual(
    taken.map(({ chain, fields }) => [chain, fields.type, fields.arg4]),
    [
      [1, 10, 'hello back end!'],
      [2, 11, 'hello back end!'],
      [3, 12, 'hello back end!'],
    ],
  );
  const named = (await virtioMisc('show', file, '--queue', 'print', '--json')).lines.map((line) =>
    JSON.parse(line),
  );
  assert.deepEqual(
    named,
    all.filter(({ queue }) => queue === 0),
  );
  assert.deepEqual((await virtioMisc('show', file, '--from', '1h')).lines, []);
  assert.deepEqual((await virtioMisc('show', file, '--broken')).lines, []);
  const none = await virtioMisc('show', file, '--queue', 'prnt');
  assert.equal(none.code, 1);
  assert.match(none.stderr, /^virtio-misc: there is no queue 'prnt' in .*: did you mean 'print'\?$/m);
});

test('a server that is killed leaves all but the last moment, up to a whole block', async () => {
  const file = join(folder, 'test.pcapng');
  const child = await serving(['test', '--quiet', '--record', file]);
  const driver = await TestDriver.open(await connectVhostUser(socket));
  await driver.write(10);
  // It is written a tenth of a second later, by itself.
  while (!readFileSync(file).includes('hello back end!')) await new Promise((done) => setTimeout(done, 20));
  await ends(child, 'SIGKILL');
  await driver.close().catch(() => {});
  const { code, lines } = await virtioMisc('show', file);
  assert.equal(code, 0);
  assert.ok(lines.some((line) => line.includes('#1 taken')));
});

test('a recording that is cut, damaged, or none at all: what is there is shown, then where it ends', async () => {
  const file = await recorded();
  const whole = (await virtioMisc('show', file)).lines;
  const bytes = readFileSync(file);
  truncateSync(file, bytes.length - 10);
  const cut = await virtioMisc('show', file);
  assert.equal(cut.code, 1);
  assert.deepEqual(cut.lines, whole.slice(0, -1));
  assert.match(
    cut.stderr,
    /^virtio-misc: .*: the recording is cut: \d+ bytes of a block are there \(at byte \d+\); what comes before that was read\n$/,
  );
  const damaged = Buffer.from(bytes);
  const middle = damaged.indexOf('hello back end!');
  // The length of the block that follows.
  const next = middle + 15 + damaged.subarray(middle + 15).indexOf(Buffer.from([6, 0, 0, 0]));
  damaged.fill(0xff, next + 4, next + 8);
  writeFileSync(file, damaged);
  const some = await virtioMisc('show', file);
  assert.equal(some.code, 1);
  assert.ok(some.lines.length > 0 && some.lines.length < whole.length);
  assert.match(some.stderr, new RegExp(`a block of 4294967295 bytes can not be \\(at byte ${next}\\)`));
  for (const [content, says] of [
    ['', /this is no recording: it is too short/],
    ['this is text, and more of it than twelve bytes', /this is no recording: it is no pcapng file/],
  ] as const) {
    writeFileSync(file, content);
    const none = await virtioMisc('show', file);
    assert.deepEqual([none.code, none.lines], [1, []]);
    assert.match(none.stderr, says);
    assert.doesNotMatch(none.stderr, /^ +at /m);
  }
  assert.match(
    (await virtioMisc('show', join(folder, 'none'))).stderr,
    /^virtio-misc: there is no file .*none\n$/,
  );
});

test('--record where nothing can be written: one line, and nothing is left behind', async () => {
  for (const [path, says] of [
    ['/no/such/folder/x', /--record: \/no\/such\/folder\/x can't be written: no such file or directory/],
    ['/', /--record: \/ can't be written: /],
  ] as const) {
    const { code, stderr } = await virtioMisc('serve', 'test', '--vhost-user', socket, '--record', path);
    assert.equal(code, 1);
    assert.match(stderr, says);
  }
});

test('--record on a full disk: one line, the device goes on', async () => {
  const child = await serving(['test', '--quiet', '--record', '/dev/full']);
  let log = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    log += text;
  });
  const driver = await TestDriver.open(await connectVhostUser(socket));
  while (!log.includes('ends here')) await driver.write(10);
  assert.equal((await driver.write(10)).ret, 111);
  await driver.close();
  await ends(child, 'SIGTERM');
  assert.match(
    log,
    /--record: \/dev\/full can't be written any more, and ends here: no space left on device/,
  );
});

test('show --broken: what broke, and the ten events of its connection before that', async () => {
  const pieces: Uint8Array[] = [];
  const recorder = new Recorder({ write: (blocks) => pieces.push(blocks) > 0 }, 'a test', () => 0);
  const { hear } = recorder.listener(16);
  const device = {
    id: 60,
    name: 'mine',
    features: 0n,
    queues: [{ name: 'q', size: 8 }],
    config: new Uint8Array(),
  };
  const at = (connection: number, time: number): { connection: number; time: number } => ({
    connection,
    time,
  });
  for (const connection of [1, 2])
    hear({ type: 'connected', ...at(connection, 0), socket: '/s', transport: 'vhost-user', device });
  for (let i = 1; i <= 20; i++)
    for (const connection of [1, 2])
      hear({ type: 'kicked', ...at(connection, i * 1e6), queue: 0, name: 'q' });
  const broken: InspectEvent = {
    ...{ type: 'broken', ...at(2, 21e6), queue: 0, name: 'q' },
    ...{ rule: '2.7.6', error: 'head index \x1b[31m200' },
  };
  hear(broken);
  for (let i = 22; i <= 40; i++) hear({ type: 'kicked', ...at(2, i * 1e6), queue: 0, name: 'q' });
  recorder.flush();
  const file = join(folder, 'broken.pcapng');
  writeFileSync(file, Buffer.concat(pieces));
  const { code, lines } = await virtioMisc('show', file, '--broken');
  assert.equal(code, 0);
  assert.equal(lines.length, 11);
  assert.match(lines[0]!, /^ +0\.011000000 {2}2 {2}q: kicked$/);
  assert.match(lines[10]!, /^ +0\.021000000 {2}2 {2}q: broken: head index \\x1b\[31m200$/);
});
