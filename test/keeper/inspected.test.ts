import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { afterEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectVfioUser, connectVhostUser } from '../../src/connect.js';
import { virtioTest } from '../../src/devices/test/device.js';
import { TestDriver } from '../../src/devices/test/driver.js';
import { LookoutEnd } from '../../src/inspector/lookout/lookout-end.js';
import { PageReader } from '../../src/inspector/testing/page-reader.js';
import { KEEPER_VARIABLE } from '../../src/keeper/frames.js';
import { type Server, serve } from '../../src/serve.js';
import { virtioMisc } from '../virtio-misc.js';
import { servingPid } from './keeper-process.js';
import { log, said, serving, socket } from './place.js';

const MEMORY = 'memfd:virtio-misc';

let open: (() => void)[] = [];
afterEach(() => {
  for (const close of open) close();
  open = [];
});

/** The page of a device that is served in processes that may die, and a driver of it. */
async function inspected(
  transport: 'vhost-user' | 'vfio-user' = 'vhost-user',
): Promise<{ keeper: number; page: PageReader; driver: TestDriver }> {
  const keeper = await serving(socket, log, ['test', '--quiet', '--inspect'], {}, transport);
  // It is said before the device is served.
  const [url] = /http:[^"\s]*token=[\w-]+/.exec(said())!;
  const page = await (await PageReader.come(url)).open();
  const driver = await TestDriver.open(
    await (transport === 'vhost-user' ? connectVhostUser : connectVfioUser)(socket),
  );
  open.push(
    () => page.close(),
    () => void driver.close().catch(() => {}),
  );
  return { keeper: keeper.pid!, page, driver };
}

const steps = (page: PageReader): string[] => page.state.connections![0]!.steps.map(({ what }) => what);
const count = (page: PageReader, what: string): number => steps(page).filter((step) => step === what).length;

for (const transport of ['vhost-user', 'vfio-user'] as const) {
  test(`a page lives on when the process that it looks into is killed, and what is held stays held (${transport})`, async () => {
    const { keeper, page, driver } = await inspected(transport);
    assert.equal(page.hello.title, 'virtio-test');
    assert.equal((await driver.write(10)).ret, 111);
    const chain = await page.until(() =>
      [...page.items.values()].find((item) => item.type === 'chain' && item.interrupt !== undefined),
    );
    assert.ok(chain.type === 'chain' && chain.text.startsWith('type 10 '));
    const { id, time } = chain;
    assert.equal((await page.ask(`/api/chain?connection=1&queue=0&id=${id}`)).json.item.chain, 1);
    await page.until(() => page.state.rings?.some(({ layout }) => layout === 'split'));
    assert.equal((await page.command({ command: 'hold', connection: 1 })).status, 200);
    let answered = false;
    const answer = driver.write(20).then(({ ret }) => {
      answered = true;
      return ret;
    });
    await page.until(() => page.state.holds?.some(({ waiting }) => waiting === 1));
    process.kill(servingPid(keeper, MEMORY)!, 'SIGKILL');
    await page.until(() => count(page, 'goes-on') === 1);
    assert.deepEqual(
      steps(page).filter((what) => what === 'died' || what === 'goes-on'),
      ['died', 'goes-on'],
    );
    const hold = await page.until(() => page.state.holds?.find(({ next }) => next !== undefined));
    assert.deepEqual([hold.by, hold.waiting, hold.next?.text.slice(0, 8)], ['person', 1, 'type 20 ']);
    assert.equal(page.state.connections?.length, 1, 'it is the same connection');
    assert.ok(hold.since > time && hold.since < page.state.connections[0]!.steps.at(-1)!.time, 'one clock');
    assert.ok(!answered);
    await page.command({ command: 'step', connection: 1, queue: 0 });
    assert.equal(await answer, 121);
    await page.command({ command: 'release' });
    assert.equal((await driver.write(30)).ret, 131);
    await page.until(() =>
      [...page.items.values()].some((item) => item.type === 'chain' && item.text.startsWith('type 30 ')),
    );
    await driver.close();
    await page.until(() => page.state.connections![0]!.gone !== undefined);
  });
}

test('a breakpoint hits in the process that goes on, whichever process it was set for', async () => {
  const { keeper, page, driver } = await inspected();
  await driver.write(1);
  const on = { kind: 'when', when: 'type == 77' } as const;
  await page.command({ command: 'break', on });
  for (let killed = 1; killed <= 2; killed++) {
    process.kill(servingPid(keeper, MEMORY)!, 'SIGKILL');
    const answer = driver.write(77);
    const hold = await page.until(() => page.state.holds?.find(({ next }) => next !== undefined));
    assert.deepEqual([hold.by, hold.reason], ['breakpoint', 'type == 77']);
    await page.until(() => page.state.breakpoints?.[0]?.hits === killed);
    await page.command({ command: 'release' });
    assert.equal((await answer).ret, 178);
    await page.until(() => page.state.holds?.length === 0);
    await page.until(() => count(page, 'goes-on') === killed);
  }
  assert.match(
    (await page.command({ command: 'break', on: { kind: 'when', when: 'type ==' } })).json.error,
    /ends where/,
  );
  assert.match((await page.command({ command: 'step', connection: 1, queue: 0 })).json.error, /is not held/);
});

test('one that is held is still held after an upgrade, which the page tells from a death', async () => {
  const { page, driver } = await inspected();
  await driver.write(1);
  await page.command({ command: 'hold', connection: 1, queue: 0 });
  const answer = driver.write(20);
  await page.until(() => page.state.holds?.some(({ waiting }) => waiting === 1));
  const { code, stderr } = await virtioMisc('upgrade', socket);
  assert.equal(code, 0, stderr);
  await page.until(() => count(page, 'goes-on') === 1);
  assert.deepEqual([count(page, 'yielded'), count(page, 'died')], [1, 0]);
  await page.until(() => page.state.holds?.some(({ next }) => next?.text.startsWith('type 20 ')));
  await page.command({ command: 'release' });
  assert.equal((await answer).ret, 121);
});

test('when the process that has the page dies, what it holds goes on', async () => {
  const { page, driver, keeper } = await inspected();
  await driver.write(1);
  await page.command({ command: 'hold', connection: 1 });
  const answer = driver.write(20);
  await page.until(() => page.state.holds?.some(({ waiting }) => waiting === 1));
  process.kill(deskPid(keeper), 'SIGKILL');
  assert.equal((await answer).ret, 121);
  await driver.close();
});

/** The process that has the page: the one that is no worker. */
function deskPid(keeper: number): number {
  const children = readFileSync(`/proc/${keeper}/task/${keeper}/children`, 'utf8').trim().split(' ');
  const isWorker = (pid: string): boolean =>
    readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`${KEEPER_VARIABLE}=`);
  return Number(children.find((pid) => !isWorker(pid)));
}

/** A device in this process, and who looks at it for another one. */
async function lookedAt(): Promise<{ end: LookoutEnd; server: Server }> {
  const end = new LookoutEnd(
    () => Math.round(performance.now() * 1e6),
    0n,
    'virtio-test',
    () => {},
  );
  const server = await serve(virtioTest(), { vhostUser: socket, print: false });
  server.observe(end.listener());
  open.push(() => server.close());
  return { end, server };
}

async function come(): Promise<TestDriver> {
  const driver = await TestDriver.open(await connectVhostUser(socket));
  // One that waits keeps this process alive.
  open.push(() => void driver.close().catch(() => {}));
  return driver;
}

test('a front-end that comes before it was said whether anything may be held waits until it is', async () => {
  for (const says of ['nothing may be', 'something may be', 'nobody is there']) {
    const { end, server } = await lookedAt();
    const driver = await come();
    let answered = false;
    const answer = driver.write(77).then(({ ret }) => {
      answered = true;
      return ret;
    });
    await sleep(50);
    assert.ok(!answered, says);
    if (says === 'nobody is there') end.close();
    else {
      const watchful = says === 'something may be';
      end.take({ what: 'arm', arms: { asleep: false, stops: [], watchful } });
      if (watchful) {
        await sleep(50);
        assert.ok(!answered, says);
        end.take({ what: 'confirm', connection: 1, holds: [] });
      }
    }
    assert.equal(await answer, 178);
    await driver.close();
    server.close();
  }
});

for (const said of ['something may be held', 'nothing']) {
  test(`a front-end that comes when nobody is there any more, who said ${said} before, is served`, async () => {
    const { end, server } = await lookedAt();
    if (said !== 'nothing') end.take({ what: 'arm', arms: { asleep: false, stops: [], watchful: true } });
    end.close();
    const driver = await come();
    const ret = await Promise.race([driver.write(77).then((answer) => answer.ret), sleep(5000)]);
    assert.equal(ret, 178);
    await driver.close();
    server.close();
  });
}
