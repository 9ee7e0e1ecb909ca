import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectVfioUser, connectVhostUser } from '../../src/connect.js';
import { STATUS } from '../../src/devices/misc/wire.js';
import { diedAt } from './die-at.js';
import { dieAtStore } from './die-at-store.js';
import { servingPid } from './keeper-process.js';
import { folder, log, said, serving, socket } from './place.js';
import { TimedDriver } from './timed-driver.js';

const DEVICE = ['misc', '--quiet'];

for (const [transport, connect] of [
  ['vhost-user', connectVhostUser],
  ['vfio-user', connectVfioUser],
] as const) {
  test(`1,000 timers, and workers killed all the while: each is told of once and none early, or cancelled (${transport})`, async (t) => {
    const kills = Number(process.env.VIRTIO_MISC_KILLS ?? 5);
    const keeper = await serving(socket, log, DEVICE, {}, transport);
    const driver = await TimedDriver.open(await connect(socket), 128);
    const statuses = Array.from({ length: 1000 }, (_, i) => driver.set(i + 1, (i * 37) % (500 * kills)));
    const cancels: Promise<number>[] = [];
    let killed = 0;
    let over = false;
    const all = (async () => {
      for (const status of await Promise.all(statuses)) assert.equal(status, STATUS.OK);
      await driver.over();
      over = true;
    })();
    all.catch(() => {
      over = true;
    });
    for (; killed < kills && !over; ) {
      await Promise.race([sleep(300 * Math.random()), all]);
      const pid = servingPid(keeper.pid!, 'memfd:virtio-misc');
      if (pid === undefined) continue;
      if (killed % 3 === 0) cancels.push(driver.cancel(1000 - killed));
      process.kill(pid, 'SIGKILL');
      killed += 1;
    }
    await all;
    for (const status of await Promise.all(cancels))
      assert.ok(status === STATUS.OK || status === STATUS.NOT_FOUND, `${status}`);
    await driver.check();
    await driver.close();
    t.diagnostic(`${killed} workers were killed`);
    assert.ok(killed >= Math.min(3, kills), said());
    assert.doesNotMatch(said(), /dropped|broken|refused|failed/);
  });

  test(`a worker dies after each of its stores in turn: no timer is lost, early or told of twice, no request carried out twice (${transport})`, async (t) => {
    // Every one is more than a quick test has the time for.
    const every = Number(process.env.VIRTIO_MISC_KILL_EVERY ?? 41);
    const at = join(folder, 'die-at');
    await serving(socket, log, DEVICE, dieAtStore(at), transport);
    let kills = 0;
    for (let store = 1; ; store += every) {
      writeFileSync(at, `${store}`);
      const driver = await TimedDriver.open(await connect(socket), 8);
      const [, , four, again] = await Promise.all([
        driver.set(1, 20),
        driver.set(2, 0),
        driver.set(3, 10_000),
        driver.set(4, 20),
      ]);
      assert.deepEqual([four, again], [STATUS.OK, STATUS.OK]);
      // What was carried out and not answered is in use when it is asked anew.
      assert.equal(await driver.cancel(3), STATUS.OK);
      await driver.check();
      await driver.close();
      const died = diedAt(at);
      if (died === kills) break;
      kills = died;
    }
    t.diagnostic(`${kills} workers died`);
    assert.ok(kills > 80 / every, `${kills} kills`);
    assert.doesNotMatch(said(), /dropped|broken|refused|failed/);
  });
}
