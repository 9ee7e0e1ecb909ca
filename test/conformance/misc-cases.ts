import assert from 'node:assert/strict';
import { virtioMisc } from '../../src/devices/misc/device.js';
import { MiscDriver } from '../../src/devices/misc/driver.js';
import * as wire from '../../src/devices/misc/wire.js';
import { openDriver } from '../../src/virtio/driver.js';
import type { Cases } from './suite.js';

const now = (): number => performance.now();

/** What virtio-misc promises its driver, whatever lies between. */
export const miscCases: Cases = {
  make: virtioMisc(),
  command: ['misc'],
  cases: {
    async 'timers expire in deadline order, none early, each with its context'({ connect }) {
      const driver = await MiscDriver.open(await connect());
      const delays = [450, 250, 650, 50];
      const fired: number[] = [];
      // When each was set, on this side: not before, and not after.
      const asked = new Map<number, number>();
      const answered = new Map<number, number>();
      await new Promise<void>((resolve) => {
        for (const delay of delays) {
          const start = now();
          asked.set(delay, start);
          void driver
            .setTimer(
              delay,
              (context) => {
                assert.ok(now() - start >= delay, `${context} after ${now() - start} ms`);
                fired.push(context);
                if (fired.length === delays.length) resolve();
              },
              delay,
            )
            .then(() => answered.set(delay, now()));
        }
      });
      assert.deepEqual(fired.toSorted(), delays.toSorted());
      // On a slow machine, one that was set late is due late.
      for (const [index, later] of fired.entries()) {
        for (const earlier of fired.slice(0, index)) {
          const due = (answered.get(later) ?? Number.POSITIVE_INFINITY) + later;
          assert.ok(due >= asked.get(earlier)! + earlier, `${earlier} ms before ${later} ms`);
        }
      }
      await driver.close();
    },

    async 'a cancelled timer does not fire, and says whether it was there'({ connect }) {
      const driver = await MiscDriver.open(await connect());
      for (let delay = 20; ; delay *= 2) {
        let fired = false;
        const tell = (): void => {
          fired = true;
        };
        const timer = await driver.setTimer(delay, tell, undefined);
        const cancelled = timer.cancel();
        const before = fired;
        const inTime = await cancelled;
        assert.equal(await timer.cancel(), false);
        // Due later than the other would have been, and they are told in that order.
        await new Promise<void>((resolve) => void driver.setTimer(delay, resolve, undefined));
        // One that expired while it was being cancelled is not told either.
        assert.equal(fired, before);
        assert.ok(!(fired && inTime));
        if (inTime) break;
      }
      await driver.close();
    },

    async 'a periodic timer counts each expiration once'({ connect }) {
      const driver = await MiscDriver.open(await connect());
      const start = now();
      let expirations = 0;
      for await (const more of driver.expirations({ delay: 5e6, interval: 5e6 })) {
        expirations += more;
        if (expirations >= 8) break;
      }
      assert.ok(
        now() - start >= expirations * 5,
        `${expirations} expirations of 5 ms in ${now() - start} ms`,
      );
      assert.equal(driver.armed, 0);
      await driver.close();
    },

    async 'the expirations of a timer without interval end after one'({ connect }) {
      const driver = await MiscDriver.open(await connect());
      const seen: number[] = [];
      for await (const expirations of driver.expirations({ delay: 1e6 })) seen.push(expirations);
      assert.deepEqual(seen, [1]);
      assert.equal(driver.armed, 0);
      await driver.close();
    },

    async 'the device says what is wrong with a request'({ connect }) {
      const driver = await openDriver(await connect(), {
        id: wire.VIRTIO_ID_MISC,
        features: wire.VIRTIO_MISC_F_CANCEL,
        queues: 2,
      });
      const status = async (...words: number[]): Promise<number> => {
        const answer = await driver.queues[wire.CONTROLQ]!.request(
          new Uint8Array(Uint32Array.from(words).buffer),
          4,
        );
        return new DataView(answer.buffer).getUint32(0, true);
      };
      const { OK, UNSUPPORTED, INVALID, EXISTS, NOT_FOUND } = wire.STATUS;
      assert.equal(await status(99), UNSUPPORTED);
      assert.equal(await status(wire.VIRTIO_MISC_SET_TIMER, 10), INVALID);
      assert.equal(await status(wire.VIRTIO_MISC_SET_TIMER, 60_000, 5), OK);
      assert.equal(await status(wire.VIRTIO_MISC_SET_TIMER, 60_000, 5), EXISTS);
      assert.equal(await status(wire.VIRTIO_MISC_CANCEL_TIMER, 0, 6), NOT_FOUND);
      assert.equal(await status(wire.VIRTIO_MISC_CANCEL_TIMER, 0, 5), OK);
      assert.equal(await status(wire.VIRTIO_MISC_SET_TIMER_NS, 7, 0, 0, 0, 0), UNSUPPORTED);
      await driver.close();
    },

    async 'a request without room for a status is carried out all the same'({ connect }) {
      const driver = await openDriver(await connect(), { id: wire.VIRTIO_ID_MISC, features: 0n, queues: 2 });
      const expired = new Promise<Uint8Array>((resolve) => driver.queues[wire.NOTIFYQ]!.post(8, resolve));
      const request = new Uint8Array(Uint32Array.of(wire.VIRTIO_MISC_SET_TIMER, 1, 77).buffer);
      assert.equal((await driver.queues[wire.CONTROLQ]!.request(request, 0)).length, 0);
      const notification = await expired;
      assert.deepEqual([...new Uint32Array(notification.buffer)], [wire.VIRTIO_MISC_TIMER_EXPIRED, 77]);
      await driver.close();
    },

    async 'expiries wait for a buffer: one that is posted late loses nothing'({ connect, lines }) {
      const driver = await openDriver(await connect(), { id: wire.VIRTIO_ID_MISC, features: 0n, queues: 2 });
      const [controlq, notifyq] = [driver.queues[wire.CONTROLQ]!, driver.queues[wire.NOTIFYQ]!];
      for (let id = 1; id <= 300; id++) {
        await controlq.request(
          new Uint8Array(Uint32Array.of(wire.VIRTIO_MISC_SET_TIMER, id % 7, id).buffer),
          4,
        );
      }
      assert.equal(lines.filter((line) => line.includes('expired')).length, 0);
      const ids = new Set<number>();
      await new Promise<void>((resolve) => {
        const post = (): void =>
          notifyq.post(16, (notification) => {
            ids.add(new DataView(notification.buffer).getUint32(4, true));
            if (ids.size === 300) resolve();
            else post();
          });
        for (let i = 0; i < 3; i++) post();
      });
      await driver.close();
    },

    async 'a new driver finds no timers of the one before'({ connect }) {
      const first = await MiscDriver.open(await connect());
      let gone = false;
      // Setting them may take longer than the first of them runs.
      for (let i = 0; i < 100; i++)
        await first.setTimer(20, () => assert.ok(!gone, 'fired for a driver that is gone'), i);
      gone = true;
      await first.close();
      const second = await MiscDriver.open(await connect());
      assert.equal(second.maxTimers, 65_536);
      await new Promise<void>((resolve) => void second.setTimer(60, resolve, undefined));
      await second.close();
    },

    async '2,000 timers at once: none early, none lost, none twice'({ connect }) {
      const driver = await MiscDriver.open(await connect());
      const fired = new Map<number, number>();
      const start = now();
      await new Promise<void>((resolve, reject) => {
        for (let i = 0; i < 2000; i++) {
          const delay = (i * 7919) % 200;
          driver
            .setTimer(
              delay,
              (n) => {
                if (now() - start < delay) reject(new Error(`${delay} ms: after ${now() - start} ms`));
                fired.set(n, (fired.get(n) ?? 0) + 1);
                if (fired.size === 2000) resolve();
              },
              i,
            )
            .catch(reject);
        }
      });
      assert.deepEqual(
        [...fired.values()].filter((times) => times !== 1),
        [],
      );
      await driver.close();
    },
  },
};
