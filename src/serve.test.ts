import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { connectVhostUser } from './connect.js';
import { virtioTest } from './devices/test/device.js';
import { TestDriver } from './devices/test/driver.js';
import { serve } from './serve.js';
import { OsError } from './transports/os-error.js';

/** A socket's path in a folder that goes with the test. */
function socketFor(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return join(folder, 'device.sock');
}

const quiet = { print: false, warn() {} } as const;

test('a server that was closed is finished, with a front-end or without', async (t) => {
  const vhostUser = socketFor(t);
  for (const connected of [false, true]) {
    const server = await serve(virtioTest(), { vhostUser, ...quiet });
    const driver = connected ? await TestDriver.open(await connectVhostUser(vhostUser)) : undefined;
    server.close();
    await server.finished;
    await driver?.close();
  }
});

test('what the operating system refuses is an OsError with its code', async (t) => {
  const vhostUser = socketFor(t);
  const isOsError = (code: string) => (error: unknown) => error instanceof OsError && error.code === code;
  await assert.rejects(connectVhostUser(vhostUser), isOsError('ENOENT'));
  const server = await serve(virtioTest(), { vhostUser, ...quiet });
  t.after(() => server.close());
  await assert.rejects(serve(virtioTest(), { vhostUser, ...quiet }), isOsError('EADDRINUSE'));
});
