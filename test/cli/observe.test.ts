import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, test } from 'node:test';
import { connectVfioUser, connectVhostUser } from '../../src/connect.js';
import { TestDriver } from '../../src/devices/test/driver.js';
import { type Driver, openDriver } from '../../src/virtio/driver.js';
import { start, virtioMisc } from '../virtio-misc.js';

type Line = Record<string, unknown> & { msg: string };

let folder: string;
let socket: string;
const children: ChildProcess[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  socket = join(folder, 'device.sock');
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

/** A running `serve`, whose log is read line by line. */
function serving(...args: string[]): { logged: (says: RegExp) => Promise<Line>; child: ChildProcess } {
  const child = start(['serve', ...args, '--quiet', '--log', 'json']);
  children.push(child);
  const lines = createInterface({ input: child.stderr! })[Symbol.asyncIterator]();
  return {
    child,
    async logged(says) {
      for (;;) {
        const { done, value } = await lines.next();
        assert.ok(!done, `it ended before it said ${says}`);
        const line = JSON.parse(value) as Line;
        if (says.test(line.msg)) return line;
      }
    },
  };
}

/** The metrics, by name and labels. */
async function metricsAt(url: string): Promise<Map<string, number>> {
  const text = await (await fetch(url)).text();
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.split(' ').at(-1))]));
}

for (const [transport, connect] of [
  ['vhost-user', connectVhostUser],
  ['vfio-user', connectVfioUser],
] as const) {
  test(`--trace over ${transport} logs each chain in words, with its connection and queue`, async () => {
    const { logged } = serving('test', `--${transport}`, socket, '--trace');
    await logged(/^serving virtio-test$/);
    const driver = await TestDriver.open(await connect(socket));
    await driver.write(10);
    const { us, time, ...line } = await logged(/^print: /);
    assert.ok(Number(us) >= 0 && Number(time) > 0);
    assert.deepEqual(line, {
      level: 10,
      connection: 1,
      socket,
      transport,
      queue: 'print',
      head: 0,
      readable: 48,
      writable: 12,
      written: 12,
      request: 'type=10 arg1=11 arg2=12 arg3=13 arg4="hello back end!"',
      response: 'ret=111 arg1=112 arg2=113',
      msg: `print: in 48 B: ${line.request} | out 12 of 12 B: ${line.response} | ${us} us`,
    });
    await driver.close();
    assert.equal((await logged(/^front-end left$/)).connection, 1);
  });
}

test('--metrics counts what goes on, over all connections', async () => {
  const { logged, child } = serving('test', '--vhost-user', socket, '--metrics', '0');
  const url = /http:\S+/.exec((await logged(/^metrics at/)).msg)![0];
  assert.match(url, /^http:\/\/127\.0\.0\.1:\d+\/metrics$/);
  const device = 'device="virtio-test"';
  for (let connection = 1; connection <= 2; connection++) {
    const driver = await TestDriver.open(await connectVhostUser(socket));
    for (let i = 0; i < 5; i++) await driver.write(i);
    const metrics = await metricsAt(url);
    const value = (name: string): number | undefined => metrics.get(`virtio_misc_${name}}`);
    assert.equal(value(`connections{${device},transport="vhost-user"`), 1);
    assert.equal(value(`connections_total{${device},transport="vhost-user"`), connection);
    assert.equal(value(`chains_total{${device},queue="print"`), 5 * connection);
    assert.equal(value(`read_bytes_total{${device},queue="print"`), 5 * 48 * connection);
    assert.equal(value(`written_bytes_total{${device},queue="print"`), 5 * 12 * connection);
    assert.equal(value(`broken_total{${device},queue="print"`), 0);
    assert.ok(value(`interrupts_total{${device},queue="print"`)! >= 5 * connection);
    // A request that comes while the device is still at it needs none.
    const kicks = value(`kicks_total{${device},queue="print"`)!;
    assert.ok(kicks >= 1, `${kicks} kicks`);
    await driver.close();
    await logged(/^front-end left$/);
  }
  assert.equal((await metricsAt(url)).get(`virtio_misc_connections{${device},transport="vhost-user"}`), 0);
  assert.equal((await fetch(`${url}/else`)).status, 404);
  child.kill('SIGTERM');
  assert.deepEqual(await once(child, 'exit'), [0, null]);
});

test('--metrics on a port that is taken: one line, and nothing is left behind', async () => {
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const { port } = other.address() as { port: number };
  const { code, stderr } = await virtioMisc('serve', 'test', '--vhost-user', socket, '--metrics', `${port}`);
  other.close();
  assert.equal(code, 1);
  assert.equal(
    stderr,
    `virtio-misc: --metrics: port ${port} can't be had, another program has it: take another, or 0 for any\n`,
  );
});

test('a file that is saved: its device takes over, or one line says why not; both are counted and traced', async () => {
  const file = join(folder, 'device.ts');
  const device = (answer: string, size = 64): string =>
    `import { defineDevice, le32, struct, structQueue } from 'virtio-misc';
     const N = struct({ n: le32 });
     export default defineDevice({
       id: 63,
       name: 'mine',
       queues: [structQueue({ name: 'q', size: ${size}, request: N, response: N, handle: ({ n }) => ({ n: ${answer} }) })],
     });`;
  writeFileSync(file, device('n + 1'));
  const { logged } = serving(file, '--vhost-user', socket, '--metrics', '0', '--trace');
  assert.equal((await logged(/^serving/)).msg, 'serving mine');
  const url = /http:\S+/.exec((await logged(/^metrics at/)).msg)![0];
  const driver: Driver = await openDriver(await connectVhostUser(socket), {
    id: 63,
    features: 0n,
    queues: 1,
    queueSize: 64,
  });
  const ask = async (): Promise<string> => {
    await driver.queues[0]!.request(Uint8Array.of(20, 0, 0, 0), 4);
    return `${(await logged(/^q: /)).response}`;
  };
  assert.equal(await ask(), 'n=21');
  for (const [text, says] of [
    [device('n - - 1 }'), /^not reloaded, the old device goes on: .*device\.ts:6:\d+: /],
    [device('n', 128), /^not reloaded, .* queue 0 \(q\) changed its size from 64 to 128: restart the guest/],
    [`${device('n')}\nnull!.x;`, /^not reloaded, .*device\.ts:8:\d+: Cannot read properties of null/],
  ] as const) {
    writeFileSync(file, text);
    await logged(says);
    assert.equal(await ask(), 'n=21');
  }
  writeFileSync(file, device('n + 2'));
  await logged(/^reloaded; the front-end stays$/);
  assert.equal(await ask(), 'n=22');
  const metrics = await metricsAt(url);
  const results = ['reloaded', 'refused', 'failed'].map((result) =>
    metrics.get(`virtio_misc_reloads_total{result="${result}"}`),
  );
  // An editor's save may be seen when it is half done, and fail then.
  assert.deepEqual(results.slice(0, 2), [1, 1]);
  assert.ok(results[2]! >= 2);
  await driver.close();
});

test('--no-watch: nothing is watched', async () => {
  const file = join(folder, 'device.mjs');
  writeFileSync(
    file,
    `import { defineDevice } from 'virtio-misc'; export default defineDevice({ id: 63, name: 'mine', queues: [] });`,
  );
  for (const [args, watches] of [
    [[], true],
    [['--no-watch'], false],
  ] as const) {
    const { logged, child } = serving(file, '--vhost-user', socket, ...args);
    await logged(/^serving mine$/);
    const fds = `/proc/${child.pid}/fd`;
    const links = readdirSync(fds).map((fd) => readlinkSync(join(fds, fd)));
    assert.equal(links.includes('anon_inode:inotify'), watches);
    child.kill('SIGTERM');
    assert.deepEqual(await once(child, 'exit'), [0, null]);
  }
});
