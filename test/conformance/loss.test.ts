import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MiscDriver } from '../../src/devices/misc/driver.js';
import { TestDriver } from '../../src/devices/test/driver.js';
import { TransportError } from '../../src/index.js';
import { serveProcess } from './process-pairing.js';

const lost = (error: unknown): boolean => error instanceof TransportError && error.code === 'LOST';

for (const transport of ['vhost-user', 'vfio-user'] as const) {
  describe(`a device process that is killed, over ${transport}`, () => {
    test('every outstanding request rejects within a second, every later one at once, and a new device can be had', async () => {
      const device = await serveProcess(transport, ['test', '--quiet']);
      const driver = await TestDriver.open(await device.connect());
      await driver.write(1);
      // Stopped, so that they all are outstanding when it dies.
      process.kill(device.pid, 'SIGSTOP');
      const outstanding = Array.from({ length: 500 }, (_, i) => assert.rejects(driver.write(i), lost));
      const killed = performance.now();
      await device.kill();
      await Promise.all(outstanding);
      assert.ok(performance.now() - killed < 1000, `took ${performance.now() - killed} ms`);
      assert.ok(lost(await driver.failure));
      await assert.rejects(driver.write(1), lost);
      await driver.close();

      const next = await serveProcess(transport, ['test', '--quiet']);
      const again = await TestDriver.open(await next.connect());
      assert.equal((await again.write(10)).ret, 111);
      await again.close();
      await next.close();
    });

    test('a loop over expirations ends with the error', async () => {
      const device = await serveProcess(transport, ['misc', '--quiet']);
      const driver = await MiscDriver.open(await device.connect());
      await assert.rejects(async () => {
        for await (const _ of driver.expirations({ delay: 1e6, interval: 1e6 })) await device.kill();
      }, lost);
      await driver.close();
    });
  });
}
