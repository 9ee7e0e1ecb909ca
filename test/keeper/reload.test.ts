import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectVfioUser, connectVhostUser } from '../../src/connect.js';
import { TestDriver } from '../../src/devices/test/driver.js';
import { servingPid } from './keeper-process.js';
import { folder, log, said, serving, socket } from './place.js';

let file: string;
let keeper: ChildProcess;
beforeEach(() => {
  file = join(folder, 'device.ts');
});

/** Saves a file, whole at any moment. */
function save(path: string, text: string): void {
  writeFileSync(`${path}~`, text);
  renameSync(`${path}~`, path);
}

/** Saves the version alone, which a file of its own says. */
function saveVersion(version: number): void {
  save(join(folder, 'version.ts'), `export const VERSION: number = ${version};\n`);
}

/** A device that answers with its version, and with how many requests it has answered, whichever version did. */
function write(version: number, { size = 128, more = '' }: { size?: number; more?: string } = {}): void {
  save(
    file,
    `import { array, defineDevice, le32, struct, structQueue } from 'virtio-misc';
  import { VERSION } from './version.js';
  const version = ${version} || VERSION;
  let served = 0;
  ${more}
  export default defineDevice({
    id: 45,
    name: 'edited',
    features: { CAN_PRINT: 0 },
    queues: [structQueue({
      name: 'requestq',
      size: ${size},
      request: struct({ type: le32, arg1: le32, arg2: le32, arg3: le32, arg4: array(le32, 8) }),
      response: struct({ ret: le32, arg1: le32, arg2: le32 }),
      handle: ({ arg1 }) => ({ ret: arg1 + 100, arg1: version, arg2: ++served }),
    })],
    save: () => ({ served }),
    restore: (state) => { served = (state as { served: number }).served; },
  });`,
  );
}

type Transport = 'vhost-user' | 'vfio-user';

async function connect(transport: Transport): Promise<TestDriver> {
  return TestDriver.open(await (transport === 'vhost-user' ? connectVhostUser : connectVfioUser)(socket));
}

async function serveFile(transport: Transport, ...more: string[]): Promise<TestDriver> {
  saveVersion(1);
  write(0);
  keeper = await serving(socket, log, [file, '--no-type-check', ...more], {}, transport);
  return connect(transport);
}

/** @returns the version that answers, and how many requests were answered before. */
async function ask(driver: TestDriver): Promise<[version: number, served: number]> {
  const { arg1, arg2 } = await driver.request({ type: 1, arg1: 0, arg2: 0, arg3: 0, arg4: '' });
  return [arg1, arg2];
}

/** Kills whoever serves the front-end, as soon as somebody does, and waits until it is said. */
async function kill(): Promise<void> {
  let pid: number | undefined;
  while (pid === undefined) {
    pid = servingPid(keeper.pid!, 'memfd:virtio-misc');
    await sleep(1);
  }
  process.kill(pid, 'SIGKILL');
  while (!said().includes(`worker ${pid} died of SIGKILL`)) await sleep(10);
}

/** Waits until something is said, for the first time. */
async function says(words: RegExp): Promise<void> {
  while (!words.test(said())) {
    assert.equal(keeper.exitCode, null, said());
    await sleep(10);
  }
}

/** What is said of a save. */
function lines(): string[] {
  return said()
    .split('\n')
    .filter((line) => /reloaded/.test(line))
    .map((line) => (JSON.parse(line) as { msg: string }).msg);
}

for (const transport of ['vhost-user', 'vfio-user'] as const) {
  test(`a saved file takes over in the process that serves, and in those that come after it: one line (${transport})`, async () => {
    const driver = await serveFile(transport);
    assert.deepEqual(await ask(driver), [1, 1]);
    const worker = servingPid(keeper.pid!, 'memfd:virtio-misc');
    saveVersion(2);
    await says(/reloaded; the front-end stays/);
    assert.deepEqual(await ask(driver), [2, 2], 'with what the one before has saved');
    assert.equal(servingPid(keeper.pid!, 'memfd:virtio-misc'), worker, 'the same process');
    for (let i = 0; i < 3; i++) {
      await kill();
      assert.deepEqual(await ask(driver), [2, 1], 'afresh, as after any crash');
    }
    assert.deepEqual(lines(), ['reloaded; the front-end stays']);
    await driver.close();
    // Whoever is ready now hears of the next one.
    write(3);
    await says(/reloaded"/);
    const next = await connect(transport);
    assert.deepEqual(await ask(next), [3, 1]);
    await next.close();
    assert.deepEqual(lines(), ['reloaded; the front-end stays', 'reloaded']);
  });

  test(`a refused one: the old device goes on, also in those that come after it, and the next front-end gets the new one (${transport})`, async () => {
    const driver = await serveFile(transport);
    write(2, { size: 64 });
    await says(/not reloaded/);
    assert.deepEqual(await ask(driver), [1, 1]);
    for (let i = 0; i < 3; i++) {
      await kill();
      assert.deepEqual(await ask(driver), [1, 1]);
    }
    // One that fits takes over nevertheless.
    write(3);
    await says(/reloaded; the front-end stays/);
    assert.deepEqual(await ask(driver), [3, 2]);
    write(4, { size: 64 });
    while (lines().length < 3) await sleep(10);
    await kill();
    assert.deepEqual(await ask(driver), [3, 1]);
    const refused =
      /^not reloaded, the old device goes on: queue 0 \(requestq\) changed its size from 128 to 64: restart the guest/;
    assert.match(lines()[0]!, refused);
    assert.match(lines()[2]!, refused);
    assert.equal(lines().length, 3);
    await driver.close();
    await says(/front-end left/);
    const next = await connect(transport);
    assert.deepEqual(await ask(next), [4, 1]);
    await kill();
    assert.deepEqual(await ask(next), [4, 1]);
    await next.close();
  });
}

test('what does not load, throws, or ends the process that loads it: one line, and what was served before goes on in all of them', async () => {
  const driver = await serveFile('vhost-user');
  const bad = [
    ['this is no code', /^not reloaded, the old device goes on: .*device\.ts:5:\d+: /],
    ['throw new Error("not today");', /^not reloaded, the old device goes on: .*device\.ts:5:\d+: not today/],
    ['process.exit(3);', /^not reloaded, the old device goes on: worker \d+ ended with 3$/],
    ['process.abort();', /^not reloaded, the old device goes on: worker \d+ died of SIGABRT$/],
  ] as const;
  for (const [index, [more, words]] of bad.entries()) {
    write(2, { more });
    while (lines().length <= index) await sleep(10);
    assert.match(lines()[index]!, words);
    assert.equal((await ask(driver))[0], 1);
    await kill();
    assert.deepEqual(await ask(driver), [1, 1]);
  }
  assert.equal(lines().length, bad.length);
  write(2);
  await says(/reloaded; the front-end stays/);
  assert.deepEqual(await ask(driver), [2, 2]);
  await driver.close();
});

test('killed at any moment of a reload: whoever goes on is told to load it, too', async () => {
  const driver = await serveFile('vhost-user');
  for (let version = 2; version < 7; version++) {
    saveVersion(version);
    await sleep(40 + 7 * version);
    await kill();
    while ((await ask(driver))[0] !== version) await sleep(1);
    await kill();
    assert.deepEqual(await ask(driver), [version, 1]);
  }
  await driver.close();
});

test('--no-watch: those that come later load what the first has loaded, whatever is on the disk', async () => {
  const driver = await serveFile('vhost-user', '--no-watch');
  rmSync(join(folder, 'version.ts'));
  save(file, '}');
  for (let i = 0; i < 3; i++) {
    await kill();
    assert.deepEqual(await ask(driver), [1, 1]);
  }
  await driver.close();
});
