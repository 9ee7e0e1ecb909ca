import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectVfioUser, connectVhostUser } from '../../src/connect.js';
import { TestDriver } from '../../src/devices/test/driver.js';
import { virtioMisc } from '../virtio-misc.js';
import { servingPid } from './keeper-process.js';
import { folder, log, serving, socket } from './place.js';

/** virtio-test's echo, with something to ask of it. */
const ASKED = `
  import { array, control, defineDevice, le32, struct, structQueue } from 'virtio-misc';
  let served = 0;
  export default defineDevice({
    id: 45,
    name: 'asked',
    features: { CAN_PRINT: 0 },
    queues: [structQueue({
      name: 'requestq',
      request: struct({ type: le32, arg1: le32, arg2: le32, arg3: le32, arg4: array(le32, 8) }),
      response: struct({ ret: le32, arg1: le32, arg2: le32 }),
      handle({ arg1, arg2, arg3 }) {
        served += 1;
        return { ret: arg1 + 100, arg1: arg2 + 100, arg2: arg3 + 100 };
      },
    })],
    controls: { served: control('how many', {}, () => String(served)) },
  });
`;

async function requests(driver: TestDriver, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const { ret } = await driver.request({ type: 1, arg1: i, arg2: 2, arg3: 3, arg4: '' });
    assert.equal(ret, i + 100);
  }
}

async function scrape(): Promise<Map<string, number>> {
  const [, url] = /metrics at (http:\S+?)"/.exec(readFileSync(log, 'utf8'))!;
  const text = await (await fetch(url!)).text();
  return new Map(
    text
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]),
  );
}

const CHAINS = 'virtio_misc_chains_total{device="asked",queue="requestq"}';

for (const transport of ['vhost-user', 'vfio-user'] as const) {
  test(`metrics, controls and a recording are of all processes that served a device (${transport})`, async () => {
    const file = join(folder, 'asked.mjs');
    writeFileSync(file, ASKED);
    const control = join(folder, 'control.sock');
    const record = join(folder, 'record.pcapng');
    const more = ['--metrics', '0', '--control', control, '--record', record];
    const keeper = await serving(socket, log, [file, '--no-type-check', ...more], {}, transport);
    const ctl = async (): Promise<string> => {
      const { code, lines, stderr } = await virtioMisc('ctl', control, 'served');
      assert.equal(code, 0, stderr);
      return lines.join();
    };
    const driver = await TestDriver.open(
      await (transport === 'vhost-user' ? connectVhostUser : connectVfioUser)(socket),
    );
    await requests(driver, 5);
    while ((await scrape()).get(CHAINS) !== 5);
    assert.equal(await ctl(), '5');
    const first = servingPid(keeper.pid!, 'memfd:virtio-misc')!;
    const asked = async (...words: string[]): Promise<readonly string[]> =>
      (await virtioMisc('ctl', control, ...words)).lines;
    assert.deepEqual(await asked('process'), [`${first}`]);
    assert.match((await asked()).join('\n'), /^served +how many\nprocess +the number of the process/);
    assert.match(
      (await virtioMisc('ctl', control, 'serve')).stderr,
      /there is no control 'serve': did you mean 'served'/,
    );
    process.kill(first, 'SIGKILL');
    await requests(driver, 3);
    let after = await scrape();
    // On a busy machine a process is not waited for so long.
    while (after.get(CHAINS) !== 8) after = await scrape();
    assert.equal(after.get(`virtio_misc_connections_total{device="asked",transport="${transport}"}`), 1);
    assert.equal(after.get(`virtio_misc_connections{device="asked",transport="${transport}"}`), 1);
    assert.equal(await ctl(), '3', 'another device answers');
    await driver.close();
    while ((await scrape()).get(`virtio_misc_connections{device="asked",transport="${transport}"}`) !== 0)
      await sleep(10);
    keeper.kill('SIGTERM');
    assert.deepEqual(await once(keeper, 'exit'), [0, null]);
    const { code, lines, stderr } = await virtioMisc('show', record, '--json');
    assert.deepEqual([code, stderr], [0, '']);
    const events = lines.map((line) => JSON.parse(line) as { type: string; connection: number });
    const used = (connection: number): number =>
      events.filter((event) => event.type === 'used' && event.connection === connection).length;
    assert.deepEqual([used(1), used(2)], [5, 3]);
    assert.equal(events.at(-1)!.type, 'gone');
  });
}

test('a port or a file that can not be had is said in one line, and nothing is served', async () => {
  const { code, stderr } = await virtioMisc(
    ...['serve', 'test', '--keeper', '--vhost-user', socket, '--record', join(folder, 'no', 'file')],
  );
  assert.equal(code, 1);
  assert.match(stderr, /^virtio-misc: --record: .* can't be written: no such file or directory\n$/);
});
