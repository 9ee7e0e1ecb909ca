import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { connectVfioUser, connectVhostUser } from '../../src/connect.js';
import { TestDriver } from '../../src/devices/test/driver.js';
import { keeperServing } from './keeper-process.js';

test('a front-end cuts its memory short: its worker dies of it and no other does, the one at the other socket notices nothing, and the next is served', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  const socket = join(folder, 'device.sock');
  const other = join(folder, 'other.sock');
  const log = join(folder, 'log');
  const children: ChildProcess[] = [];
  try {
    const keeper = await keeperServing(socket, log, ['test', '--quiet', '--vfio-user', other]);
    children.push(keeper);
    const driver = await TestDriver.open(await connectVfioUser(other));
    let over = false;
    let answered = 0;
    const load = (async (): Promise<void> => {
      while (!over) {
        assert.equal((await driver.write(answered % 100)).ret, (answered % 100) + 101);
        answered += 1;
      }
    })();
    load.catch(() => {});
    const cutter = spawn(
      process.execPath,
      [fileURLToPath(new URL('./truncating.js', import.meta.url)), socket],
      {
        stdio: ['ignore', 'ignore', 'inherit'],
      },
    );
    children.push(cutter);
    const said = (): string => readFileSync(log, 'utf8');
    while (!said().includes('front-end dropped')) {
      assert.equal(cutter.exitCode, null);
      await sleep(10);
    }
    assert.match(said(), /front-end dropped: its worker died of SIGBUS: memory that it shared is gone/);
    assert.equal(said().match(/died of/g)!.length, 1, said());
    // The same process goes on with the other one.
    const before = answered;
    while (answered < before + 100) await Promise.race([load, sleep(1)]);
    over = true;
    await load;
    await driver.close();
    const next = await TestDriver.open(await connectVhostUser(socket));
    assert.equal((await next.write(5)).ret, 106);
    await next.close();
  } finally {
    for (const child of children) child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
});
