import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { virtioMisc } from '../devices/misc/device.js';
import { virtioTest } from '../devices/test/device.js';
import { Request } from '../devices/test/wire.js';
import type { InspectEvent } from '../observe/event.js';
import type { MakeDevice } from '../virtio/make-device.js';
import { DeviceBench } from '../virtio/testing/device-bench.js';
import { testOf } from './as-test.js';
import { connectionsOf } from './connection-events.js';
import { recordBench } from './testing/record-bench.js';
import { timerWork } from './testing/timer-work.js';

/** The test that is made of a recording. */
function written(events: readonly InspectEvent[]): string {
  const device = { importLine: "import { DeviceBench } from 'virtio-misc';", make: 'makeDevice' };
  return testOf(connectionsOf(events), device, 'a.pcapng');
}

/** Runs it with a device. */
async function run(text: string, makeDevice: MakeDevice): Promise<void> {
  const body = text.replace(/^import .*$/gm, '');
  const tests: (() => Promise<void>)[] = [];
  const collect = (_: string, work: () => Promise<void>): void => void tests.push(work);
  new Function('assert', 'test', 'DeviceBench', 'makeDevice', body)(assert, collect, DeviceBench, makeDevice);
  assert.ok(tests.length > 0);
  for (const each of tests) await each();
}

test('the test of a recording: requests and answers in hex, with what they stand for', async () => {
  const make = virtioTest();
  const events = await recordBench(make, async (bench) => {
    bench.readConfig();
    await bench.request(
      'print',
      Request.encode({ type: 77, arg1: 1, arg2: 2, arg3: 3, arg4: '*/ \n\x85' }),
      12,
    );
  });
  const text = written(events);
  assert.match(text, /^test\("virtio-test answers as recorded, connection 1", async \(\) => \{$/m);
  assert.match(
    text,
    /const print1 = bench\.request\("print", bytes\('4d000000[0-9a-f]{88}'\), 12\); \/\/ type=77 arg1=1 /,
  );
  assert.match(text, /assert\.equal\(hex\(await print1\), '650000006600000067000000'\)/);
  await run(text, make);
  await assert.rejects(run(text, virtioTest({ variant: 'events' })), assert.AssertionError);
});

test('whatever a driver does with timers, the test of it passes', async () => {
  await fc.assert(
    fc.asyncProperty(timerWork, async (work) => {
      const text = written(await recordBench(virtioMisc(), work));
      await run(text, virtioMisc());
    }),
    { numRuns: 60 },
  );
});
