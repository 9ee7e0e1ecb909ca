import assert from 'node:assert/strict';
import { openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectVhostUser } from '../../src/connect.js';
import { TestDriver } from '../../src/devices/test/driver.js';
import { folder, serving, socket } from '../cli/servers.js';

/** Every system call is more than a quick test has the time for. */
const EVERY = Number(process.env.VIRTIO_MISC_KILL_EVERY ?? 17);

/** virtio-test's echo, whose answers come late and out of order. */
const LATE = `
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
        await new Promise((done) => setTimeout(done, 10 * Math.random()));
        return { ret: arg1 + 100, arg1: arg2 + 100, arg2: arg3 + 100 };
      },
    })],
  });
`;

/** Serves with a keeper. @returns what it says. */
async function kept(...args: string[]): Promise<() => string> {
  const log = join(folder, 'log');
  await serving([...args, '--keeper'], ['ignore', 'ignore', openSync(log, 'w')]);
  return () => readFileSync(log, 'utf8');
}

function deaths(said: string): number[] {
  return [...said.matchAll(/worker (\d+) died of SIGKILL/g)].map(([, pid]) => Number(pid));
}

/** The process that serves the front-end: it has memory of ours. */
function servingPid(parent: number): number | undefined {
  const children = readFileSync(`/proc/${parent}/task/${parent}/children`, 'utf8').trim().split(' ');
  return children.map(Number).find((pid) => {
    try {
      return readFileSync(`/proc/${pid}/maps`, 'utf8').includes('memfd:virtio-misc');
    } catch {
      return false;
    }
  });
}

async function requests(driver: TestDriver, count: number): Promise<void> {
  const answers = await Promise.all(
    Array.from({ length: count }, (_, i) => driver.request({ type: 1, arg1: i, arg2: 2, arg3: 3, arg4: '' })),
  );
  assert.deepEqual(
    answers.map(({ ret }) => ret),
    answers.map((_, i) => i + 100),
  );
}

test('a worker dies before each of its system calls in turn: its front-end notices nothing', async () => {
  const at = join(folder, 'die-at');
  process.env.NODE_OPTIONS = `--import ${new URL('die-at.js', import.meta.url).href}`;
  process.env.VIRTIO_MISC_DIE_AT = at;
  const said = await kept('test', '--quiet');
  delete process.env.NODE_OPTIONS;
  delete process.env.VIRTIO_MISC_DIE_AT;
  let kills = 0;
  for (let call = 1; ; call += EVERY) {
    writeFileSync(at, String(call));
    const driver = await TestDriver.open(await connectVhostUser(socket));
    for (let round = 0; round < 3; round++) await requests(driver, 4);
    await driver.close();
    const died = deaths(said()).length;
    if (died === kills) break;
    kills = died;
  }
  assert.ok(kills > 80 / EVERY, `${kills} kills`);
  assert.ok(!said().includes('dropped'));
});

for (const features of [[], ['--features', 'packed'], ['--features', 'in-order']]) {
  test(`workers die under load, whose answers come out of order: each request is answered once ${features.join(' ')}`, async () => {
    const file = join(folder, 'late.mjs');
    writeFileSync(file, LATE);
    const log = join(folder, 'log');
    const keeper = await serving(
      [file, '--keeper', '--no-watch', '--no-type-check', ...features],
      ['ignore', 'ignore', openSync(log, 'w')],
    );
    const driver = await TestDriver.open(await connectVhostUser(socket));
    const wanted = Number(process.env.VIRTIO_MISC_KILLS ?? 5);
    let kills = 0;
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
    while (kills < wanted) {
      const before = answered;
      while (answered < before + 64) await Promise.race([loads, sleep(1)]);
      const pid = servingPid(keeper.pid!);
      if (pid === undefined) continue;
      process.kill(pid, 'SIGKILL');
      kills += 1;
    }
    over = true;
    await loads;
    await driver.close();
    assert.ok(!readFileSync(log, 'utf8').includes('broken'), readFileSync(log, 'utf8'));
    assert.ok(!readFileSync(log, 'utf8').includes('dropped'));
  });
}
