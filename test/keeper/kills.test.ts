import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectVfioUser, connectVhostUser } from '../../src/connect.js';
import { TestDriver } from '../../src/devices/test/driver.js';
import { dieAt, diedAt, dieInEach } from './die-at.js';
import { DEATHS, dieHow } from './die-how.js';
import { servingPid } from './keeper-process.js';
import { folder, log, said, serving, socket } from './place.js';

/** virtio-test's echo, whose answers come late and out of order; or it does what a file says, once. */
const LATE = `
  import { existsSync, readFileSync, rmSync } from 'node:fs';
  import { array, defineDevice, le32, struct, structQueue } from 'virtio-misc';
  export default defineDevice({
    id: 45,
    name: 'late',
    features: { CAN_PRINT: 0 },
    queues: [structQueue({
      name: 'requestq',
      request: struct({ type: le32, arg1: le32, arg2: le32, arg3: le32, arg4: array(le32, 8) }),
      response: struct({ ret: le32, arg1: le32, arg2: le32 }),
      async handle({ arg1, arg2, arg3 }) {
        if (existsSync(process.env.NOW)) {
          const how = readFileSync(process.env.NOW, 'utf8');
          rmSync(process.env.NOW);
          if (how === 'abort') process.abort();
          if (how === 'loop') for (;;);
        }
        await new Promise((done) => setTimeout(done, 10 * Math.random()));
        return { ret: arg1 + 100, arg1: arg2 + 100, arg2: arg3 + 100 };
      },
    })],
  });
`;

async function requests(driver: TestDriver, count: number): Promise<void> {
  const answers = await Promise.all(
    Array.from({ length: count }, (_, i) => driver.request({ type: 1, arg1: i, arg2: 2, arg3: 3, arg4: '' })),
  );
  assert.deepEqual(
    answers.map(({ ret }) => ret),
    answers.map((_, i) => i + 100),
  );
}

type Transport = 'vhost-user' | 'vfio-user';

async function open(transport: Transport = 'vhost-user'): Promise<TestDriver> {
  return TestDriver.open(await (transport === 'vhost-user' ? connectVhostUser : connectVfioUser)(socket));
}

for (const transport of ['vhost-user', 'vfio-user'] as const) {
  test(`a worker dies before each of its system calls in turn: its front-end notices nothing (${transport})`, async () => {
    // Every one is more than a quick test has the time for.
    const every = Number(process.env.VIRTIO_MISC_KILL_EVERY ?? (transport === 'vhost-user' ? 17 : 83));
    const at = join(folder, 'die-at');
    await serving(socket, log, undefined, dieAt(at), transport);
    let kills = 0;
    for (let call = 1; ; call += every) {
      writeFileSync(at, `any ${call}`);
      const driver = await open(transport);
      for (let round = 0; round < 3; round++) await requests(driver, 4);
      await driver.close();
      const died = diedAt(at);
      if (died === kills) break;
      kills = died;
    }
    assert.ok(kills > 80 / every, `${kills} kills`);
    assert.doesNotMatch(said(), /dropped/);
  });

  test(`a worker dies in each message of a front-end, after it was carried out: all of them have their effect and one answer (${transport})`, async () => {
    const at = join(folder, 'die-at');
    await serving(socket, log, undefined, dieAt(at), transport);
    // There are many more of them where the driver's registers are reached by messages.
    const each = Number(process.env.VIRTIO_MISC_KILL_EVERY ?? (transport === 'vhost-user' ? 1 : 7));
    dieInEach(at, each);
    const driver = await open(transport);
    await requests(driver, 4);
    await driver.close();
    assert.ok(diedAt(at) > 10, said());
    assert.doesNotMatch(said(), /dropped/);
  });

  for (const features of [[], ['--features', 'packed'], ['--features', 'in-order']]) {
    test(`workers die under load, whose answers come out of order: each request is answered once ${features.join(' ')} (${transport})`, async () => {
      const file = join(folder, 'late.mjs');
      writeFileSync(file, LATE);
      const keeper = await serving(
        socket,
        log,
        [file, '--no-watch', '--no-type-check', ...features],
        { NOW: join(folder, 'now') },
        transport,
      );
      const driver = await open(transport);
      const wanted = Number(process.env.VIRTIO_MISC_KILLS ?? 4);
      let answered = 0;
      let over = false;
      const load = async (): Promise<void> => {
        while (!over) {
          await requests(driver, 8);
          answered += 8;
        }
      };
      const loads = Promise.all([load(), load(), load(), load()]);
      loads.catch(() => {});
      for (let kills = 0; kills < wanted; ) {
        const before = answered;
        while (answered < before + 64) await Promise.race([loads, sleep(1)]);
        const pid = servingPid(keeper.pid!, 'memfd:virtio-misc');
        if (pid === undefined) continue;
        process.kill(pid, 'SIGKILL');
        kills += 1;
      }
      over = true;
      await loads;
      await driver.close();
      assert.doesNotMatch(said(), /dropped|broken/);
    });
  }
}

test('a worker that aborts, or loops for ever, is replaced under its front-end', async () => {
  const file = join(folder, 'late.mjs');
  writeFileSync(file, LATE);
  const now = join(folder, 'now');
  const args = [file, '--no-watch', '--no-type-check', '--stuck-after', '3s'];
  await serving(socket, log, args, { NOW: now });
  const driver = await open();
  for (const [how, words] of [
    ['abort', /worker \d+ died of SIGABRT: another one goes on/],
    ['loop', /worker \d+ is stuck for 3000 ms: it is killed/],
  ] as const) {
    writeFileSync(now, how);
    await requests(driver, 8);
    assert.match(said(), words);
  }
  await driver.close();
});

test('a worker is killed, aborts, or throws: what the device says of its configuration space still comes, by the channel that it was told of first', async () => {
  const args = ['test', '--variant', 'events', '--first', '100ms', '--every', '100ms', '--quiet'];
  const keeper = await serving(socket, log, args, dieHow());
  const driver = await TestDriver.open(await connectVhostUser(socket));
  let heard = 0;
  let wake = (): void => {};
  driver.onConfigChange(() => {
    heard += 1;
    wake();
  });
  const more = async (): Promise<void> => {
    const before = heard;
    while (heard === before) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  await more();
  for (const [i, death] of [...new Set(DEATHS)].entries()) {
    const pid = servingPid(keeper.pid!, 'memfd:virtio-misc')!;
    process.kill(pid, death);
    while ((said().match(/another one goes on/g)?.length ?? 0) <= i) await sleep(10);
    // The one that died may have said something yet.
    for (let i = 0; i < 3; i++) await more();
  }
  await driver.close();
  assert.doesNotMatch(said(), /dropped|broken/);
});
