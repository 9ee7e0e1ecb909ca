import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { cpSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { runErrand } from '../../src/cli/run-errand.js';
import { connectVfioUser, connectVhostUser } from '../../src/connect.js';
import { MiscDriver } from '../../src/devices/misc/driver.js';
import { TestDriver } from '../../src/devices/test/driver.js';
import type { TestResponse } from '../../src/devices/test/wire.js';
import { virtioMisc } from '../virtio-misc.js';
import { servingPid } from './keeper-process.js';
import { folder, log, said, serving, socket } from './place.js';

let file: string;
let keeper: ChildProcess;
beforeEach(() => {
  file = join(folder, 'device.mjs');
});

/** What makes one version of a device differ from another. */
interface Version {
  readonly version?: number;
  readonly id?: number;
  readonly features?: string;
  readonly queues?: number;
  readonly size?: number;
  readonly state?: string;
  readonly more?: string;
}

/** A device that answers late and out of order, with its version and with how many requests it has answered, whichever version did. */
function write({
  version = 1,
  id = 45,
  features = 'CAN_PRINT: 0',
  queues = 1,
  size = 128,
  ...rest
}: Version): void {
  const { state = '{ served }', more = '' } = rest;
  const rest2 = Array.from({ length: queues - 1 }, (_, i) => `{ name: 'more${i}' }`).join();
  writeFileSync(
    file,
    `import { array, defineDevice, le32, struct, structQueue } from 'virtio-misc';
  let served = 0;
  export default defineDevice({
    id: ${id},
    name: 'late',
    features: { ${features} },
    queues: [structQueue({
      name: 'requestq',
      size: ${size},
      request: struct({ type: le32, arg1: le32, arg2: le32, arg3: le32, arg4: array(le32, 8) }),
      response: struct({ ret: le32, arg1: le32, arg2: le32 }),
      async handle({ arg1 }) {
        await new Promise((done) => setTimeout(done, 10 * Math.random()));
        return { ret: arg1 + 100, arg1: ${version}, arg2: ++served };
      },
    }), ${rest2}],
    save: () => (${state}),
    restore: (state) => { served = state.served; },
    ${more}
  });`,
  );
}

type Transport = 'vhost-user' | 'vfio-user';

async function serveFile(version: Version, transport: Transport = 'vhost-user'): Promise<TestDriver> {
  write(version);
  keeper = await serving(socket, log, [file, '--no-watch', '--no-type-check'], {}, transport);
  return TestDriver.open(await (transport === 'vhost-user' ? connectVhostUser : connectVfioUser)(socket));
}

async function requests(driver: TestDriver, count: number): Promise<TestResponse[]> {
  const answers = await Promise.all(
    Array.from({ length: count }, (_, i) => driver.request({ type: 1, arg1: i, arg2: 2, arg3: 3, arg4: '' })),
  );
  assert.deepEqual(
    answers.map(({ ret }) => ret),
    answers.map((_, i) => i + 100),
  );
  return answers;
}

const upgrade = async (): Promise<string> => (await runErrand(socket, () => ({ do: 'upgrade' }))).said;

/** Makes requests all the time while something else is done. @returns how many. */
async function underLoad(
  driver: TestDriver,
  act: (answered: () => Promise<void>) => Promise<void>,
): Promise<number> {
  let total = 0;
  let over = false;
  const load = async (): Promise<void> => {
    while (!over) {
      await requests(driver, 8);
      total += 8;
    }
  };
  const loads = Promise.all([load(), load(), load(), load()]);
  loads.catch(() => {});
  const some = async (): Promise<void> => {
    const before = total;
    while (total < before + 64) await Promise.race([loads, sleep(1)]);
  };
  await some();
  await act(some);
  over = true;
  await loads;
  return total;
}

for (const transport of ['vhost-user', 'vfio-user'] as const) {
  test(`upgraded under load: each version goes on where the last one was, and each request is carried out and answered once (${transport})`, async (t) => {
    const driver = await serveFile({ version: 1 }, transport);
    const wanted = Number(process.env.VIRTIO_MISC_UPGRADES ?? 4);
    const gaps: number[] = [];
    const total = await underLoad(driver, async (answered) => {
      for (let version = 2; version < wanted + 2; version++) {
        write({ version });
        const line = await upgrade();
        assert.match(line, /^upgraded: nobody served .*device\.sock for \d+\.\d ms$/);
        gaps.push(Number(/([\d.]+) ms/.exec(line)![1]));
        await answered();
        const [answer] = await requests(driver, 1);
        assert.equal(answer!.arg1, version);
      }
    });
    const [last] = await requests(driver, 1);
    assert.equal(last!.arg2, total + wanted + 1, 'as many as there were');
    await driver.close();
    assert.doesNotMatch(said(), /dropped|broken|died|failed/);
    gaps.sort((a, b) => a - b);
    t.diagnostic(
      `${wanted} upgrades: nobody served for ${gaps[gaps.length >> 1]} ms (p50), ${gaps.at(-1)} ms at most`,
    );
  });

  test(`a program that can not take over is refused with one line; the old one goes on under load, and another may come (${transport})`, async () => {
    const driver = await serveFile({}, transport);
    const worker = servingPid(keeper.pid!, 'memfd:virtio-misc');
    const bad: readonly (readonly [Version, RegExp])[] = [
      [{ id: 46 }, /the device id changed from 45 to 46: restart the guest/],
      [{ queues: 2 }, /the number of queues changed from 1 to 2/],
      [{ size: 256 }, /queue 0 \(requestq\) changed its size from 128 to 256/],
      [{ features: '' }, /feature 0 is offered no more, and the driver uses it/],
      [{ more: 'activate() { throw new Error("not today"); },' }, /not today/],
      [{ more: 'restore() { throw new Error("what is that?"); },' }, /what is that\?/],
      [{ more: 'restore: undefined,' }, /late has no `restore`, and the one before has saved something/],
      [{ more: 'this is no code' }, /can't be had: .*device\.mjs/],
      [{ more: '}); process.exit(3); ({' }, /of the program as it is now ended with 3/],
    ];
    await underLoad(driver, async (answered) => {
      // The session has no say in most of it.
      for (const [version, says] of transport === 'vhost-user' ? bad : bad.slice(0, 2)) {
        write({ version: 2, ...version });
        await assert.rejects(upgrade(), (error: Error) => {
          assert.match(error.message, /^not upgraded, the old program goes on: .*$/);
          assert.match(error.message, says);
          return true;
        });
        await answered();
      }
      const [answer] = await requests(driver, 1);
      assert.equal(answer!.arg1, 1);
      assert.equal(servingPid(keeper.pid!, 'memfd:virtio-misc'), worker, 'the same process');
      write({ version: 3 });
      const { code, lines, stderr } = await virtioMisc('upgrade', String(keeper.pid));
      assert.deepEqual([code, stderr], [0, '']);
      assert.match(lines.join(), /^upgraded: nobody served /);
    });
    const [answer] = await requests(driver, 1);
    assert.equal(answer!.arg1, 3);
    await driver.close();
  });
}

test('what the old one has saved and has no bytes: it says so, and goes on', async () => {
  const driver = await serveFile({ state: '{ served, wait: () => {} }' });
  write({ version: 2 });
  await assert.rejects(upgrade(), /not upgraded, .*wait is a function, which has no bytes/);
  const [answer] = await requests(driver, 1);
  assert.equal(answer!.arg1, 1);
  await driver.close();
});

test('a crash after an upgrade is one of the new program; SIGUSR2 upgrades; with no front-end the next one gets the new program', async () => {
  const driver = await serveFile({});
  write({ version: 2 });
  process.kill(keeper.pid!, 'SIGUSR2');
  while (!said().includes('upgraded; nobody served')) await sleep(10);
  process.kill(servingPid(keeper.pid!, 'memfd:virtio-misc')!, 'SIGKILL');
  const [answer] = await requests(driver, 1);
  assert.deepEqual([answer!.arg1, answer!.arg2], [2, 1], 'afresh, as after any crash');
  await driver.close();
  while (!said().includes('front-end left')) await sleep(10);
  write({ version: 3 });
  assert.equal(await upgrade(), 'upgraded: no front-end is there');
  const next = await TestDriver.open(await connectVhostUser(socket));
  const [first] = await requests(next, 1);
  assert.equal(first!.arg1, 3);
  await next.close();
});

test('timers go on over upgrades, each fires once and none early; while the guest stands still no time passes for them', async () => {
  keeper = await serving(socket, log, ['misc', '--quiet']);
  const transport = await connectVhostUser(socket);
  const driver = await MiscDriver.open(transport);
  const fired: number[] = [];
  const early: number[] = [];
  const delays = Array.from({ length: 200 }, (_, i) => 10 * i);
  for (const delay of delays) {
    const set = performance.now();
    await driver.setTimer(
      delay,
      () => {
        fired.push(delay);
        if (performance.now() < set + delay) early.push(delay);
      },
      undefined,
    );
  }
  while (fired.length < delays.length / 2) {
    await upgrade();
    await sleep(1);
  }
  await transport.pause();
  await upgrade();
  await transport.resume();
  while (fired.length < delays.length) await sleep(10);
  await driver.close();
  assert.deepEqual(new Set(fired).size, fired.length);
  assert.deepEqual(early, []);
});

test('save with a keeper: its worker is asked; what is saved is gone on from by the first device that a driver starts, and not after a crash', async () => {
  keeper = await serving(socket, log, ['misc', '--quiet']);
  const transport = await connectVhostUser(socket);
  const driver = await MiscDriver.open(transport);
  await driver.setTimer(3_600_000, () => {}, undefined);
  const state = join(folder, 'state');
  const running = await virtioMisc('save', socket, state);
  assert.match(running.stderr, /the guest runs: stop it first/);
  await transport.pause();
  const { code, stderr } = await virtioMisc('save', socket, state);
  assert.deepEqual([code, stderr], [0, '']);
  await driver.close().catch(() => {});
  keeper.kill('SIGKILL');
  const other = join(folder, 'other.sock');
  keeper = await serving(other, log, ['misc', '--quiet', '--max-timers', '1', '--restore', state]);
  const next = await MiscDriver.open(await connectVhostUser(other));
  const more = (): Promise<unknown> => next.setTimer(3_600_000, () => {}, undefined);
  // The one that there may be is there.
  await assert.rejects(more(), /a timer with this id exists/);
  process.kill(servingPid(keeper.pid!, 'memfd:virtio-misc')!, 'SIGKILL');
  await assert.rejects(more(), /no room for another timer/);
  await next.close();
  const later = await MiscDriver.open(await connectVhostUser(other));
  await later.setTimer(3_600_000, () => {}, undefined);
  await later.close();
});

test('--restore: the state is for the first device that a driver starts, whoever connected before, and whatever became of its file and of processes', async () => {
  keeper = await serving(socket, log, ['misc', '--quiet']);
  const transport = await connectVhostUser(socket);
  const driver = await MiscDriver.open(transport);
  await driver.setTimer(3_600_000, () => {}, undefined);
  await transport.pause();
  const state = join(folder, 'state');
  assert.equal((await virtioMisc('save', socket, state)).code, 0);
  await driver.close().catch(() => {});
  keeper.kill('SIGKILL');
  keeper = await serving(socket, log, ['misc', '--quiet', '--max-timers', '1', '--restore', state]);
  rmSync(state);
  for (let i = 1; i <= 2; i++) {
    const other = await connectVhostUser(socket);
    while (!said().includes(`"connection":${i}`)) await sleep(1);
    const children = readFileSync(`/proc/${keeper.pid}/task/${keeper.pid}/children`, 'utf8')
      .trim()
      .split(' ');
    for (const pid of children.map(Number)) process.kill(pid, 'SIGKILL');
    other.close();
  }
  const next = await MiscDriver.open(await connectVhostUser(socket));
  const more = (): Promise<unknown> => next.setTimer(3_600_000, () => {}, undefined);
  await assert.rejects(more(), /a timer with this id exists/);
  process.kill(servingPid(keeper.pid!, 'memfd:virtio-misc')!, 'SIGKILL');
  await assert.rejects(more(), /no room for another timer/);
  await next.close();
  const later = await MiscDriver.open(await connectVhostUser(socket));
  await later.setTimer(3_600_000, () => {}, undefined);
  await later.close();
});

test('upgraded from one installed version to another: the path of the program is looked up anew', async () => {
  const installed = join(folder, 'installed');
  const main = join(installed, 'dist/src/cli/main.js');
  for (const version of ['1.0.0', '2.0.0']) install(version);
  symlinkSync('1.0.0', installed);
  keeper = await serving(socket, log, ['test', '--quiet'], {}, 'vhost-user', main);
  const driver = await TestDriver.open(await connectVhostUser(socket));
  const ret = async (): Promise<number> =>
    (await driver.request({ type: 1, arg1: 1, arg2: 2, arg3: 3, arg4: '' })).ret;
  assert.equal(await ret(), 101);
  rmSync(installed);
  symlinkSync('2.0.0', installed);
  assert.match(await upgrade(), /^upgraded: nobody served/);
  assert.equal(await ret(), 201);
  // One that speaks another format with its keeper, which is of the first one still.
  edit(join(folder, '1.0.0/dist/src/keeper/frames.js'), 'FORMAT = 1;', 'FORMAT = 2;');
  rmSync(installed);
  symlinkSync('1.0.0', installed);
  await assert.rejects(
    upgrade(),
    /not upgraded, .*speaks format 2 with its keeper, and this keeper 1: restart the service to have it/,
  );
  assert.equal(await ret(), 201);
  await driver.close();
});

/** A copy of this program, whose second version answers otherwise. */
function install(version: string): void {
  const root = fileURLToPath(new URL('../../..', import.meta.url));
  const at = join(folder, version);
  cpSync(join(root, 'dist/src'), join(at, 'dist/src'), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(at, 'node_modules'));
  const about = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as object;
  writeFileSync(join(at, 'package.json'), JSON.stringify({ ...about, version }));
  if (version === '2.0.0') edit(join(at, 'dist/src/devices/test/device.js'), '+ 100', '+ 200');
}

function edit(path: string, from: string, to: string): void {
  const text = readFileSync(path, 'utf8');
  assert.ok(text.includes(from), `${path}: ${from}`);
  writeFileSync(path, text.replace(from, to));
}
