import assert from 'node:assert/strict';
import { virtioMisc } from '../../src/devices/misc/device.js';
import { virtioTest } from '../../src/devices/test/device.js';
import { openDriver } from '../../src/virtio/driver.js';
import type { Cases } from './suite.js';

/** virtio-test's request with this argument, and what its answer begins with. */
function request(arg: number): Uint8Array {
  const bytes = new Uint8Array(48);
  new DataView(bytes.buffer).setInt32(4, arg, true);
  return bytes;
}

function isAnswer(bytes: Uint8Array, arg: number): boolean {
  return new DataView(bytes.buffer, bytes.byteOffset).getInt32(0, true) === arg + 100;
}

/** A device of one queue, which is reset while requests are on their way (VIRTIO 1.3 §2.6.1). */
export const queueResetCases: Cases = {
  make: virtioTest(),
  command: ['test'],
  cases: {
    async '2.6.1: a queue is reset between requests and among them, and comes back in another size'({
      connect,
      warnings,
    }) {
      const driver = await openDriver(await connect(), { id: 45, features: 1n, queues: 1 });
      const [queue] = driver.queues;
      for (const queueSize of [64, 2, 16, 4, 128]) {
        const before = Promise.allSettled(
          Array.from({ length: 20 }, (_, i) => queue!.request(request(i), 12)),
        );
        await driver.resetQueue(0, { queueSize });
        const after = Array.from({ length: 20 }, (_, i) => queue!.request(request(1000 + i), 12));
        assert.equal(queue!.size, queueSize);
        for (const [i, outcome] of (await before).entries()) {
          if (outcome.status === 'fulfilled') assert.ok(isAnswer(outcome.value, i));
          else assert.equal(outcome.reason.code, 'RESET');
        }
        for (const [i, answer] of (await Promise.all(after)).entries()) assert.ok(isAnswer(answer, 1000 + i));
      }
      assert.deepEqual(warnings, []);
      await driver.close();
    },
  },
};

/** Of two queues one is reset: the device keeps what it knows. */
export const otherQueueCases: Cases = {
  make: virtioMisc(),
  command: ['misc'],
  cases: {
    async '2.6.1: a timer that was set before both queues were reset expires, and its room was not lost'({
      connect,
    }) {
      const driver = await openDriver(await connect(), { id: 70, features: 0n, queues: 2 });
      const [control, notify] = driver.queues;
      const expired = new Promise<Uint8Array>((resolve) => notify!.post(16, resolve));
      const set = (delay: number, id: number): Promise<Uint8Array> => {
        const request = new Uint8Array(12);
        const fields = new DataView(request.buffer);
        fields.setUint32(0, 1, true);
        fields.setUint32(4, delay, true);
        fields.setUint32(8, id, true);
        return control!.request(request, 4);
      };
      assert.deepEqual([...(await set(300, 77))], [0, 0, 0, 0]);
      assert.deepEqual([...(await set(3_600_000, 78))], [0, 0, 0, 0]);
      await driver.resetQueue(0);
      await driver.resetQueue(1);
      // EXISTS: it is armed still.
      assert.deepEqual([...(await set(3_600_000, 78))], [3, 0, 0, 0]);
      const notification = await expired;
      assert.equal(new DataView(notification.buffer).getUint32(4, true), 77);
      await driver.close();
    },
  },
};
