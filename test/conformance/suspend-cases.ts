import assert from 'node:assert/strict';
import { virtioMisc } from '../../src/devices/misc/device.js';
import { openDriver } from '../../src/virtio/driver.js';
import type { Cases } from './suite.js';

/** A device that its driver has stand still (VIRTIO 1.4 §3.4). */
export const suspendCases: Cases = {
  make: virtioMisc(),
  command: ['misc'],
  cases: {
    async '3.4.1: a suspended device is left alone, and what is sent meanwhile is answered when it goes on'({
      connect,
      warnings,
    }) {
      const driver = await openDriver(await connect(), { id: 70, features: 0n, queues: 2 });
      const [control, notify] = driver.queues;
      const set = (id: number): Uint8Array => {
        const bytes = new Uint8Array(12);
        const fields = new DataView(bytes.buffer);
        fields.setUint32(0, 1, true);
        fields.setUint32(4, 20, true);
        fields.setUint32(8, id, true);
        return bytes;
      };
      for (let id = 1; id <= 5; id++) {
        const expired = new Promise<Uint8Array>((resolve) => notify!.post(16, resolve));
        assert.deepEqual([...(await control!.request(set(id), 4))], [0, 0, 0, 0]);
        await driver.suspend();
        let answered = false;
        const meanwhile = control!.request(set(100 + id), 4).then((answer) => {
          answered = true;
          return answer;
        });
        await assert.rejects(driver.writeConfig(0, new Uint8Array(1)), { code: 'REFUSED' });
        await driver.readConfig(0, 4);
        assert.equal(answered, false);
        await driver.resume();
        assert.deepEqual([...(await meanwhile)], [0, 0, 0, 0]);
        assert.equal(new DataView((await expired).buffer).getUint32(4, true), id);
        await new Promise<Uint8Array>((resolve) => notify!.post(16, resolve));
      }
      await driver.resume();
      assert.deepEqual(warnings, []);
      await driver.close();
    },
  },
};
