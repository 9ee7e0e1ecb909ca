import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { connectVfioUser } from '../../src/connect.js';
import { virtioMisc } from '../../src/devices/misc/device.js';
import { MiscDriver } from '../../src/devices/misc/driver.js';
import { virtioTest } from '../../src/devices/test/device.js';
import { TestDriver } from '../../src/devices/test/driver.js';
import { descriptorsLeft, openDescriptors } from '../../src/linux/testing/open-descriptors.js';
import { type Server, serve } from '../../src/serve.js';
import type { MakeDevice } from '../../src/virtio/make-device.js';

/** Servers of one device at so many sockets, over real sockets, eventfds and shared memory. */
async function servers(
  make: MakeDevice,
  count: number,
  packed: boolean,
  work: (sockets: string[], warnings: string[], left: () => number) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  const sockets = Array.from({ length: count }, (_, i) => join(folder, `${i}.sock`));
  const warnings: string[] = [];
  const open: Server[] = [];
  let left = 0;
  const gone = (): void => {
    left += 1;
  };
  try {
    for (const vfioUser of sockets) {
      const warn = (line: string): void => void warnings.push(line);
      open.push(await serve(make, { vfioUser, print: false, warn, gone, features: { packed } }));
    }
    await work(sockets, warnings, () => left);
  } finally {
    for (const server of open) server.close();
    rmSync(folder, { recursive: true });
  }
}

for (const [name, options, packed] of [
  ['shared memory', {}, false],
  ['packed rings', {}, true],
  ['memory by messages', { shareMemory: false }, false],
  ['packed rings by messages', { shareMemory: false }, true],
  ['INTx', { vectors: 0 }, false],
  ['doorbells', { doorbells: true }, false],
] as const) {
  test(`a device under load moves from server to server and back, no request lost or done twice, with ${name}`, async () => {
    await servers(virtioTest(), 3, packed, async (sockets, warnings) => {
      const transport = await connectVfioUser(sockets[0]!, options);
      const driver = await TestDriver.open(transport);
      let answered = 0;
      let stop = false;
      const one = async (worker: number): Promise<void> => {
        for (let i = 0; !stop; i++) {
          const answer = await driver.request({ type: worker, arg1: i, arg2: 2, arg3: 3, arg4: '' });
          assert.deepEqual(answer, { ret: i + 100, arg1: 102, arg2: 103 });
          answered += 1;
        }
      };
      const workers = Promise.all(Array.from({ length: 8 }, (_, worker) => one(worker)));
      for (let i = 1; i <= 9; i++) {
        const before = answered;
        while (answered < before + 50) await new Promise(setImmediate);
        await transport.moveTo(sockets[i % 3]!);
      }
      stop = true;
      await workers;
      await driver.close();
      assert.deepEqual(warnings, []);
    });
  });
}

test('timers go along to another server', async () => {
  await servers(virtioMisc(), 2, false, async (sockets) => {
    const transport = await connectVfioUser(sockets[0]!);
    const misc = await MiscDriver.open(transport);
    const expired: unknown[] = [];
    const all = new Promise<void>((resolve) => {
      const each = (context: unknown): void => {
        expired.push(context);
        if (expired.length === 3) resolve();
      };
      void Promise.all([
        misc.setTimer(300, each, 'c'),
        misc.setTimer(200, each, 'b'),
        misc.setTimer(100, each, 'a'),
      ]);
    });
    await transport.moveTo(sockets[1]!);
    await all;
    assert.deepEqual(expired, ['a', 'b', 'c']);
    await misc.close();
  });
});

test('clients that come one after the other and leave at odd moments leave nothing behind', async () => {
  await servers(virtioTest(), 1, false, async ([socket], _, left) => {
    // What the process opens once, it has after the first.
    let before = 0;
    for (let i = 0; i < 12; i++) {
      const transport = await connectVfioUser(socket!, { doorbells: i % 2 === 0, shareMemory: i % 3 > 0 });
      const driver = await TestDriver.open(transport);
      assert.deepEqual(await driver.write(10), { ret: 111, arg1: 112, arg2: 113 });
      if (i % 4 === 1) await transport.startLog();
      // A request is under way when it leaves, or was answered before.
      const last = driver.write(11).catch(() => {});
      if (i % 4 === 3) await last;
      await driver.close();
      await last;
      while (left() <= i) await new Promise(setImmediate);
      if (i === 0) before = openDescriptors();
    }
    await descriptorsLeft(before);
  });
});
