import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import {
  connectVfioUser,
  connectVhostUser,
  type LoopbackOptions,
  loopback,
  MiscDriver,
  OsError,
  openDriver,
  type ServeOptions,
  serve,
  TestDriver,
  type TestOptions,
  virtioMisc,
  virtioTest,
} from './index.js';

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

test('over vfio-user, a device that was saved goes on, though its driver says nothing more', async (t) => {
  const vfioUser = socketFor(t);
  await using server = await serve(virtioMisc(), { vfioUser, ...quiet });
  const driver = await MiscDriver.open(await connectVfioUser(vfioUser));
  for (let i = 0; i < 3; i++) {
    const fired = new Promise<void>((resolve) => {
      void driver.setTimer(300, () => resolve(), undefined).then(() => server.save({ standing: true }));
    });
    await fired;
  }
  await driver.close();
});

test('what the operating system refuses is an OsError with its code', async (t) => {
  const vhostUser = socketFor(t);
  const isOsError = (code: string) => (error: unknown) => error instanceof OsError && error.code === code;
  await assert.rejects(connectVhostUser(vhostUser), isOsError('ENOENT'));
  const server = await serve(virtioTest(), { vhostUser, ...quiet });
  t.after(() => server.close());
  await assert.rejects(serve(virtioTest(), { vhostUser, ...quiet }), isOsError('EADDRINUSE'));
});

test('connections come one after the other, each with its end; the loop ends with the server', async (t) => {
  const vhostUser = socketFor(t);
  await using server = await serve(virtioTest(), { vhostUser, ...quiet });
  const seen: unknown[] = [];
  const looking = (async () => {
    for await (const { connection, socket, transport, gone } of server.connections()) {
      seen.push([connection, socket === vhostUser, transport]);
      void gone.then((error) => seen.push(error));
    }
  })();
  for (let i = 0; i < 2; i++) {
    await using driver = await TestDriver.open(await connectVhostUser(vhostUser));
    await driver.write(1);
  }
  while (seen.length < 4) await new Promise(setImmediate);
  assert.deepEqual(seen, [[1, true, 'vhost-user'], undefined, [2, true, 'vhost-user'], undefined]);
  server.close();
  await looking;
});

test('a loop over connections that is left, or aborted, ends, and one after the end has nothing', async (t) => {
  const vhostUser = socketFor(t);
  const server = await serve(virtioTest(), { vhostUser, ...quiet });
  const left = server.connections();
  const driver = await TestDriver.open(await connectVhostUser(vhostUser));
  for await (const { connection } of left) {
    assert.equal(connection, 1);
    break;
  }
  assert.equal((await left.next()).done, true);
  const stop = new AbortController();
  const next = server.connections({ signal: stop.signal }).next();
  stop.abort(new Error('enough'));
  await assert.rejects(next, /enough/);
  await driver.close();
  server.close();
  assert.equal((await server.connections().next()).done, true);
});

test('a signal closes the server, and one that was aborted before keeps it from being opened', async (t) => {
  const vhostUser = socketFor(t);
  const stop = new AbortController();
  const server = await serve(virtioTest(), { vhostUser, ...quiet, signal: stop.signal });
  stop.abort();
  await server.finished;
  await assert.rejects(serve(virtioTest(), { vhostUser, signal: stop.signal }), { name: 'AbortError' });
  await assert.rejects(connectVhostUser(vhostUser, { signal: stop.signal }), { name: 'AbortError' });
  await assert.rejects(connectVfioUser(vhostUser, { signal: stop.signal }), { name: 'AbortError' });
});

test('a client that waits for a server which never answers can be told to stop', async (t) => {
  const path = socketFor(t);
  const mute = createServer().listen(path);
  t.after(() => mute.close());
  await once(mute, 'listening');
  const came = once(mute, 'connection');
  const stop = new AbortController();
  const opening = connectVfioUser(path, { signal: stop.signal });
  const [socket] = (await came) as [Socket];
  const ended = once(socket.resume(), 'close');
  stop.abort(new Error('too long'));
  await assert.rejects(opening, /too long/);
  await ended;
  const another = once(mute, 'connection');
  const again = new AbortController();
  const driver = TestDriver.open(await connectVhostUser(path), { signal: again.signal });
  await another;
  again.abort(new Error('too long again'));
  await assert.rejects(driver, /too long again/);
});

test('options that can not be meant are refused with what was probably meant', async () => {
  const place = { vhostUser: '/nowhere/at/all' };
  for (const [options, message] of [
    [{ vhostuser: '/x' }, /serve has an unknown 'vhostuser': did you mean 'vhostUser'\?/],
    [{ ...place, print: 'no' }, /serve: print is a function or false, not "no"/],
    [{ ...place, signal: 5 }, /serve: signal is an AbortSignal, not the number 5/],
    [undefined, /serve takes its options as an object, not undefined/],
  ] as const) {
    await assert.rejects(serve(virtioTest(), options as unknown as ServeOptions), {
      name: 'TypeError',
      message,
    });
  }
  assert.throws(() => loopback(virtioTest(), { quiet: true } as LoopbackOptions), /unknown 'quiet'/);
  const wrong = (options: object): unknown => virtioTest(options as TestOptions);
  assert.throws(
    () => wrong({ variant: 'zzz' }),
    /RangeError: virtioTest: variant is 'echo' or 'events', not "zzz"/,
  );
  assert.throws(() => wrong({ variant: 'event' }), /not "event": did you mean 'events'\?/);
  assert.throws(
    () => wrong({ evry: 5 }),
    /TypeError: virtioTest has an unknown 'evry': did you mean 'every'\?/,
  );
  assert.throws(() => wrong({ every: -1 }), /every is a number of ms above 0, not the number -1/);
  assert.throws(
    () => virtioMisc({ maxTimer: 5 } as object),
    /unknown 'maxTimer': did you mean 'maxTimers'\?/,
  );
  const open = (options: object): Promise<unknown> =>
    openDriver(loopback(virtioTest()), { id: 45, features: 0n, queues: 1, ...options });
  await assert.rejects(
    open({ features: 0 }),
    /openDriver: features is a bigint, such as 0n, not the number 0/,
  );
  await assert.rejects(open({ queue: 1 }), /unknown 'queue': did you mean 'queues'\?/);
  await assert.rejects(open({ id: undefined }), /openDriver is not told id/);
});

test('drivers refuse what can not be meant, and end what waits when told to', async () => {
  await using test = await TestDriver.open(loopback(virtioTest(), { print: false }));
  const request = { type: 1, arg1: 1, arg2: 2, arg3: 3, arg4: '' };
  await assert.rejects(
    test.request({ ...request, arg1: '1' } as never),
    /field arg1 is "1", and not a number/,
  );
  await assert.rejects(test.request({ type: 1 } as never), /field arg1 is missing/);
  assert.throws(() => test.onConfigChange(undefined as never), /takes a function, not undefined/);
  const stop = new AbortController();
  const answer = test.request(request, { signal: stop.signal });
  stop.abort(new Error('no more'));
  await assert.rejects(answer, /no more/);
  await assert.rejects(test.request(request, { signal: stop.signal }), /no more/);
  await assert.rejects(test.write(1, { signal: stop.signal }), /no more/);
  assert.equal((await test.request(request)).ret, 101);

  await using misc = await MiscDriver.open(loopback(virtioMisc(), { print: false }));
  await assert.rejects(
    misc.setTimer(10, undefined as never, 1),
    /setTimer takes a function to call, not undefined/,
  );
  await assert.rejects(misc.startTimer({ delay: 1 }, 5 as never, 1), /startTimer takes a function to call/);
  const cancel = new AbortController();
  const never = (): void => assert.fail('it was cancelled');
  await misc.setTimer(3_600_000, never, undefined, { signal: cancel.signal });
  assert.equal(misc.armed, 1);
  cancel.abort(new Error('cancelled'));
  assert.equal(misc.armed, 0);
  await assert.rejects(misc.setTimer(1, never, undefined, { signal: cancel.signal }), /cancelled/);
  {
    await using timer = await misc.setTimer(3_600_000, never, undefined);
    assert.equal(timer.id > 0, true);
  }
  assert.equal(misc.armed, 0);
  const end = new AbortController();
  await assert.rejects(async () => {
    for await (const _ of misc.expirations({ delay: 1e6, interval: 1e6 }, { signal: end.signal })) {
      end.abort(new Error('the end'));
    }
  }, /the end/);
  assert.equal(misc.armed, 0);
});

test('reading the configuration ends when told to', async () => {
  await using driver = await openDriver(loopback(virtioTest(), { print: false }), {
    id: 45,
    features: 0n,
    queues: 1,
  });
  const stop = new AbortController();
  const reading = driver.readConfig(0, 12, { signal: stop.signal });
  const writing = driver.writeConfig(4, new Uint8Array(4), { signal: stop.signal });
  stop.abort(new Error('enough'));
  await assert.rejects(reading, /enough/);
  await assert.rejects(writing, /enough/);
  assert.equal((await driver.readConfig(0, 12)).length, 12);
});
