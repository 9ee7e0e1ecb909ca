import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectVfioUser, connectVhostUser } from '../../src/connect.js';
import { TestDriver } from '../../src/devices/test/driver.js';
import { servingPid } from './keeper-process.js';
import { log, said, serving, socket } from './place.js';

for (const [transport, connect] of [
  ['vhost-user', connectVhostUser],
  ['vfio-user', connectVfioUser],
] as const) {
  test(`front-ends that come one after the other are served by one process, those that only look in start no other (${transport})`, async () => {
    const keeper = await serving(socket, log, undefined, {}, transport);
    const children = (): string[] =>
      readFileSync(`/proc/${keeper.pid}/task/${keeper.pid}/children`, 'utf8').trim().split(' ');
    const first = children();
    assert.equal(first.length, 1);
    const left = async (count: number): Promise<void> => {
      while (said().split('front-end left').length <= count) await sleep(1);
    };
    for (let i = 1; i <= 3; i++) {
      const looksIn = await connect(socket);
      looksIn.close();
      await left(i);
    }
    for (let i = 4; i <= 6; i++) {
      const driver = await TestDriver.open(await connect(socket));
      assert.equal((await driver.write(i)).ret, i + 101);
      assert.equal(servingPid(keeper.pid!, 'memfd:virtio-misc'), Number(first[0]));
      await driver.close();
      await left(i);
    }
    assert.doesNotMatch(said(), /died|dropped/);
    assert.equal(children()[0], first[0]);
    process.kill(Number(first[0]), 'SIGKILL');
    const driver = await TestDriver.open(await connect(socket));
    assert.equal((await driver.write(7)).ret, 108);
    await driver.close();
  });
}
