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
import { keeperServing, servingPid } from './keeper-process.js';

test('a worker dies of SIGBUS though no memory is gone: another one goes on; when that dies of it at once, the front-end is let go', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  const socket = join(folder, 'device.sock');
  const log = join(folder, 'log');
  const keeper = await keeperServing(socket, log);
  const said = (): string => readFileSync(log, 'utf8');
  const serves = async (...not: number[]): Promise<number> => {
    for (;;) {
      const pid = servingPid(keeper.pid!, 'memfd:virtio-misc');
      if (pid !== undefined && !not.includes(pid)) return pid;
      await sleep(1);
    }
  };
  try {
    const driver = await TestDriver.open(await connectVhostUser(socket));
    const first = await serves();
    process.kill(first, 'SIGBUS');
    assert.equal((await driver.write(1)).ret, 102);
    assert.match(said(), new RegExp(`worker ${first} died of SIGBUS: another one goes on`));
    // However slow the machine is: until it happens soon enough.
    for (let last = first; !said().includes('front-end dropped'); ) {
      const next = await serves(last);
      process.kill(next, 'SIGBUS');
      last = next;
      while (!said().includes(`worker ${next} died`) && !said().includes('front-end dropped')) await sleep(1);
    }
    assert.match(said(), /front-end dropped: its worker died of SIGBUS: memory that it shared is gone/);
    await driver.close().catch(() => {});
  } finally {
    keeper.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
});

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
