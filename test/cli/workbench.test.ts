import assert from 'node:assert/strict';
import { symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { connectVhostUser } from '../../src/connect.js';
import { type Driver, openDriver } from '../../src/virtio/driver.js';
import { start, virtioMisc } from '../virtio-misc.js';
import { children, folder, socket } from './servers.js';

type Line = { msg: string; level: number; detail?: string[] };
const MODULES = fileURLToPath(new URL('../../../node_modules', import.meta.url));
const WARN = 40;

/** A running `serve` of a file, whose log is read line by line. */
function serving(path: string, ...args: string[]): (says: RegExp) => Promise<Line> {
  const child = start(['serve', path, '--vhost-user', socket, '--log', 'json', ...args]);
  children.push(child);
  const lines = createInterface({ input: child.stderr! })[Symbol.asyncIterator]();
  return async (says) => {
    for (;;) {
      const { done, value } = await lines.next();
      assert.ok(!done, `it ended before it said ${says}`);
      const line = JSON.parse(value) as Line;
      if (says.test(line.msg)) return line;
    }
  };
}

async function driverOf(): Promise<Driver> {
  return openDriver(await connectVhostUser(socket), { id: 60, features: 0n, queues: 1 });
}

const device = (body: string): string => `import { defineDevice } from 'virtio-misc';
export default defineDevice({
  id: 60,
  name: 'bench',
  queues: [
    {
      name: 'q',
      handle(chain) {
        ${body}
      },
    },
  ],
});
`;

test('a handler that throws is shown with its code once, then counted; the device goes on', async () => {
  const path = join(folder, 'device.ts');
  writeFileSync(
    path,
    device("if (chain.readable === 2) throw new Error('two');\n        chain.write(chain.readRest());"),
  );
  const logged = serving(path);
  await logged(/^serving bench$/);
  const driver = await driverOf();
  const sent = [1, 2, 2, 2, 1].map((length) => driver.queues[0]!.request(new Uint8Array(length), 1));
  assert.deepEqual(
    (await Promise.all(sent)).map(({ length }) => length),
    [1, 0, 0, 0, 1],
  );
  const { level, detail } = await logged(/a request on q failed: two$/);
  assert.equal(level, WARN);
  assert.ok(
    detail!.includes(">  9 |         if (chain.readable === 2) throw new Error('two');"),
    detail!.join('\n'),
  );
  assert.equal(detail![0], `at handle (${path}:9:41)`);
  const { msg } = await logged(/and 1 more\)$/);
  assert.equal(msg, `bench: a request on q failed: two (${path}:9:41) (and 1 more)`);
  await driver.close();
});

test('a promise that nobody waits for, and a timer of its own, are shown, and the process lives on', async () => {
  const path = join(folder, 'device.mjs');
  writeFileSync(
    path,
    device(`Promise.reject(new Error('alone'));
        setTimeout(() => { throw new Error('outside'); });
        chain.write(Uint8Array.of(7));`),
  );
  const logged = serving(path);
  await logged(/^serving bench$/);
  const driver = await driverOf();
  assert.deepEqual([...(await driver.queues[0]!.request(new Uint8Array(1), 1))], [7]);
  assert.match((await logged(/rejected, and nobody waits for it: alone/)).detail![0]!, /device\.mjs:9:24\)$/);
  assert.match((await logged(/threw outside of what calls it: outside/)).detail![0]!, /device\.mjs:10:34\)$/);
  assert.deepEqual([...(await driver.queues[0]!.request(new Uint8Array(1), 1))], [7]);
  await driver.close();
});

test('code that does not load is shown with the place, at the start and at a save', async () => {
  const path = join(folder, 'device.ts');
  writeFileSync(path, device('chain.write(= 1);'));
  const { code, stderr } = await virtioMisc('serve', path, '--vhost-user', socket);
  assert.equal(code, 1);
  assert.match(stderr, /^virtio-misc: .*device\.ts:9:21: Expression expected\n {7}7 \|.*\n/);
  assert.match(stderr, /\n {4}> {2}9 \| {9}chain\.write\(= 1\);\n/);
  assert.doesNotMatch(stderr, /node:internal|\/dist\/src\//);
  writeFileSync(path, device('chain.write(chain.readRest());'));
  const logged = serving(path);
  await logged(/^serving bench$/);
  writeFileSync(path, device('}}'));
  const { detail } = await logged(/^not reloaded, the old device goes on: .*device\.ts:\d+:\d+: /);
  assert.ok(
    detail!.some((line) => line.startsWith('> ')),
    detail!.join('\n'),
  );
});

test('new code whose activate throws is shown with the place', async () => {
  const path = join(folder, 'device.ts');
  const whole = device('chain.write(chain.readRest());');
  writeFileSync(path, whole);
  const logged = serving(path, '--no-type-check');
  await logged(/^serving bench$/);
  const driver = await driverOf();
  writeFileSync(
    path,
    whole.replace("  name: 'bench',", "  name: 'bench',\n  activate() { throw new Error('not now'); },"),
  );
  const { detail } = await logged(/^not reloaded, the old device goes on: not now$/);
  assert.equal(detail![0], `at activate (${path}:5:22)`);
  await driver.close();
});

test('types are checked in the background, at the start and after each save', async () => {
  const path = join(folder, 'device.ts');
  symlinkSync(MODULES, join(folder, 'node_modules'));
  writeFileSync(path, device('chain.write(5);'));
  const logged = serving(path);
  const { detail, msg, level } = await logged(/^a type is wrong, the device runs all the same: /);
  assert.equal(level, WARN);
  assert.match(msg, /device\.ts:9:21: .*'number'.*\(TS\d+\)$/);
  assert.ok(detail!.includes('>  9 |         chain.write(5);'), detail!.join('\n'));
  writeFileSync(path, device('chain.write(chain.readRest());'));
  await logged(/^its types are right again$/);
  // What does not load runs not: of its types nothing is said, and of the next ones that load it is.
  writeFileSync(path, device('}}'));
  await logged(/^not reloaded, the old device goes on: /);
  writeFileSync(path, device('chain.write(6);'));
  const next = await logged(/a type is wrong/);
  assert.match(next.msg, /device\.ts:9:21: .*'number'/);
});
