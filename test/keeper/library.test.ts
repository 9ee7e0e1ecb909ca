import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { connectVfioUser, connectVhostUser } from '../../src/connect.js';
import { virtioTest } from '../../src/devices/test/device.js';
import { TestDriver } from '../../src/devices/test/driver.js';
import type { FileServeOptions } from '../../src/file-server.js';
import { serve } from '../../src/serve.js';

let folder: string;
let socket: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  socket = join(folder, 'device.sock');
  file = join(folder, 'device.mjs');
  writeFileSync(file, "import { virtioTest } from 'virtio-misc';\nexport default virtioTest();\n");
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** The processes that this one started. */
function children(): number[] {
  const text = readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'utf8').trim();
  return text === '' ? [] : text.split(' ').map(Number);
}

for (const [transport, connect] of [
  ['vhostUser', connectVhostUser],
  ['vfioUser', connectVfioUser],
] as const) {
  test(`serve(file, { keeper: true }): its processes may die, and the front-end stays (${transport})`, async () => {
    const lines: string[] = [];
    const events: string[] = [];
    const from = transport === 'vhostUser' ? file : pathToFileURL(file);
    await using server = await serve(from, {
      [transport]: socket,
      keeper: true,
      print: false,
      features: { packed: true, inOrder: false },
      maxMemory: 1 << 30,
      warn: (line: string) => void lines.push(line),
      connected: (_: string, { connection }: { connection: number }) =>
        void events.push(`came ${connection}`),
      gone: (_: string, error: Error | undefined) =>
        void events.push(`went ${error?.message ?? 'by itself'}`),
    } as FileServeOptions);
    const driver = await TestDriver.open(await connect(socket));
    assert.equal((await driver.write(1)).ret, 102);
    for (const pid of children()) process.kill(pid, 'SIGKILL');
    assert.equal((await driver.write(2)).ret, 103);
    await server.upgrade();
    assert.equal((await driver.write(3)).ret, 104);
    await driver.close();
    assert.deepEqual(events.slice(0, 1), ['came 1']);
    assert.ok(
      lines.some((line) => /^worker \d+ died of SIGKILL: another one goes on$/.test(line)),
      lines.join('\n'),
    );
  });
}

for (const spares of [0, 2]) {
  test(`serve(file, { keeper: true, spares: ${spares} }): so many processes wait beside the one that serves`, async () => {
    await using _ = await serve(file, { vhostUser: socket, keeper: true, print: false, spares });
    const driver = await TestDriver.open(await connectVhostUser(socket));
    assert.equal((await driver.write(1)).ret, 102);
    while (children().length < 1 + spares) await sleep(20);
    // No more of them come.
    await sleep(300);
    assert.equal(children().length, 1 + spares);
    await driver.close();
  });
}

test('what can not be served so is said in one line', async () => {
  const bad = (given: unknown, options: object): Promise<unknown> =>
    serve(given as string, { keeper: true, vhostUser: socket, ...options } as FileServeOptions);
  await assert.rejects(bad(virtioTest(), {}), {
    name: 'TypeError',
    message:
      'serve with keeper takes the file that exports the device, by its path or file: URL, not what makes one in this process: processes of their own load it',
  });
  await assert.rejects(bad(new URL('http://localhost/x.js'), {}), { name: 'TypeError' });
  await assert.rejects(bad(file, { monitor: () => undefined }), {
    name: 'TypeError',
    message: /serve: monitor is for devices that run in this process: leave it out, or leave out keeper/,
  });
  await assert.rejects(bad(file, { spares: 9 }), {
    name: 'TypeError',
    message: 'serve: spares is a whole number from 0 to 8, not the number 9',
  });
  await assert.rejects(bad(file, { print: () => {} }), { name: 'TypeError' });
  await assert.rejects(bad(file, { vhostUser: undefined }), { message: /say where to serve/ });
  await assert.rejects(serve(file as never, { vhostUser: socket }), {
    name: 'TypeError',
    message: /\{ keeper: true \}/,
  });
  await assert.rejects(bad(join(folder, 'none.mjs'), {}), {
    message: /none\.mjs can't be served: its process/,
  });
  // Those of the tests before may be ending still.
  while (children().length > 0) await sleep(10);
});
