import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { connectVfioUser, connectVhostUser } from './connect.js';
import { TestDriver } from './devices/test/driver.js';
import { type InspectEvent, inspect, type Server, serve, virtioTest } from './index.js';

let folder: string;
let server: Server | undefined;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
});
afterEach(() => {
  server?.close();
  rmSync(folder, { recursive: true, force: true });
});

for (const [transport, connect] of [
  ['vhostUser', connectVhostUser],
  ['vfioUser', connectVfioUser],
] as const) {
  test(`all that passes over ${transport} is told, from the connection to its end`, async () => {
    const socket = join(folder, 'test.sock');
    server = await serve(virtioTest(), { [transport]: socket, print: false });
    const events: InspectEvent[] = [];
    const read = (async () => {
      for await (const event of inspect(server!)) events.push(event);
    })();
    const driver = await TestDriver.open(await connect(socket));
    await driver.write(10);
    await driver.close();
    for (;;) {
      if (events.some(({ type }) => type === 'gone')) break;
      await new Promise(setImmediate);
    }
    server.close();
    await read;
    const types = events.map(({ type }) => type);
    assert.equal(types[0], 'connected');
    assert.equal(types.at(-1), 'gone');
    const steps = ['connected', 'features', 'queue-started', 'running', 'available', 'taken', 'line', 'used'];
    const places = steps.map((step) => types.indexOf(step as InspectEvent['type']));
    assert.ok(!places.includes(-1), `${steps} in ${types}`);
    assert.deepEqual(
      places.toSorted((a, b) => a - b),
      places,
    );
    assert.ok(types.includes('status') && types.includes('kicked') && types.includes('reset'));
    const taken = events.find((event) => event.type === 'taken');
    assert.ok(taken?.type === 'taken' && taken.bytes.length === 48 && taken.bytes[0] === 10);
    const lines = events.flatMap((event) => (event.type === 'line' ? event.text : []));
    assert.match(lines[0]!, /get type \[ 10 \]/);
    const times = events.map(({ time }) => time);
    assert.deepEqual(
      times.toSorted((a, b) => a - b),
      times,
    );
  });
}

test('options that can not be meant are refused', async () => {
  server = await serve(virtioTest(), { vhostUser: join(folder, 'test.sock') });
  assert.throws(() => inspect(server!, { byte: 5 } as never), /unknown 'byte': did you mean 'bytes'\?/);
  assert.throws(() => inspect(server!, { keep: -1 }), /keep is a number of bytes/);
});
