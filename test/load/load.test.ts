import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MiscDriver } from '../../src/devices/misc/driver.js';
import { TestDriver } from '../../src/devices/test/driver.js';
import { loopback, virtioMisc, virtioTest } from '../../src/index.js';
import type { DriverTransport } from '../../src/virtio/driver-transport.js';
import { serveProcess } from '../conformance/process-pairing.js';

/** More than fifteen times round a 16-bit index. */
const REQUESTS = 1_000_000;
const TIMERS = 100_000;
/** Requests that are under way at a time. */
const DEEP = 128;

/** Somewhere to reach a device, and the end of it. */
interface Place {
  readonly transport: DriverTransport;
  close(): Promise<void>;
}

const silent = { print() {}, warn: (line: string) => assert.fail(line) };

async function served(transport: 'vhost-user' | 'vfio-user', command: string[]): Promise<Place> {
  const process = await serveProcess(transport, [...command, '--quiet']);
  return { transport: await process.connect(), close: process.close };
}

const PLACES: Readonly<Record<string, (device: 'test' | 'misc') => Promise<Place>>> = {
  async loopback(device) {
    const transport = loopback(device === 'test' ? virtioTest() : virtioMisc({ maxTimers: TIMERS }), silent);
    return { transport, close: async () => {} };
  },
  'vhost-user': (device) =>
    served('vhost-user', device === 'test' ? ['test'] : ['misc', '--max-timers', `${TIMERS}`]),
  'vfio-user': (device) =>
    served('vfio-user', device === 'test' ? ['test'] : ['misc', '--max-timers', `${TIMERS}`]),
};

for (const [name, reach] of Object.entries(PLACES)) {
  describe(`over ${name}`, () => {
    test(`${REQUESTS} requests, every answer its own, round the 16-bit indices many times`, async () => {
      const place = await reach('test');
      const driver = await TestDriver.open(place.transport);
      let next = 0;
      const worker = async (): Promise<void> => {
        while (next < REQUESTS) {
          const i = next++;
          const { ret, arg1, arg2 } = await driver.request({
            type: 0,
            arg1: i,
            arg2: -i,
            arg3: i ^ 0x5555,
            arg4: '',
          });
          if (ret !== i + 100 || arg1 !== 100 - i || arg2 !== (i ^ 0x5555) + 100) {
            assert.fail(`request ${i} was answered ${ret}, ${arg1}, ${arg2}`);
          }
        }
      };
      await Promise.all(Array.from({ length: DEEP }, worker));
      await driver.close();
      await place.close();
    });

    test(`${TIMERS} timers: none early, none lost, none twice`, async () => {
      const place = await reach('misc');
      const driver = await MiscDriver.open(place.transport);
      const fired = new Uint8Array(TIMERS);
      let left = TIMERS;
      let done: () => void = () => {};
      const all = new Promise<void>((resolve) => {
        done = resolve;
      });
      let early = 0;
      const expired = ({ n, due }: { n: number; due: number }): void => {
        if (performance.now() < due) early += 1;
        fired[n]! += 1;
        left -= 1;
        if (left === 0) done();
      };
      for (let n = 0; n < TIMERS; n += DEEP) {
        await Promise.all(
          Array.from({ length: Math.min(DEEP, TIMERS - n) }, (_, i) => {
            const delay = (n * 7919 + i * 31) % 2000;
            return driver.setTimer(delay, expired, { n: n + i, due: performance.now() + delay });
          }),
        );
      }
      await all;
      assert.equal(early, 0);
      assert.equal(
        fired.findIndex((times) => times !== 1),
        -1,
      );
      await driver.close();
      await place.close();
    });
  });
}
