import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { connectVfioUser, connectVhostUser } from '../../src/connect.js';
import { TestDriver } from '../../src/devices/test/driver.js';
import { Config, FEATURES, Request, Response, VIRTIO_ID_TEST } from '../../src/devices/test/wire.js';
import { type ServeOptions, serve } from '../../src/serve.js';
import { defineDevice } from '../../src/virtio/define-device.js';
import type { VirtioDevice } from '../../src/virtio/device.js';
import type { DriverTransport } from '../../src/virtio/driver-transport.js';
import { ReplaceError } from '../../src/virtio/replace-error.js';
import { structQueue } from '../../src/virtio/struct-queue.js';

/** virtio-test as versions of one file have it: it says its version, and how many requests there were, edits and all. */
const version = (ret: number, id: number = VIRTIO_ID_TEST): (() => VirtioDevice) =>
  defineDevice(() => {
    let handled = 0;
    return {
      id,
      name: 'virtio-test',
      features: FEATURES,
      config: { struct: Config, writable: ['num_pages', 'actual', 'event'] },
      queues: [
        structQueue({
          name: 'print',
          request: Request,
          response: Response,
          async handle({ arg1 }) {
            handled += 1;
            const arg2 = handled;
            // Every other one is in flight for a while.
            if (arg1 % 2 === 1) await new Promise(setImmediate);
            return { ret, arg1, arg2 };
          },
        }),
      ],
      save: () => handled,
      restore(state) {
        if (ret === BROKEN) throw new Error('broken');
        handled = state as number;
      },
    };
  });

const BROKEN = 666;

const TRANSPORTS: readonly (readonly [
  name: string,
  at: (socket: string) => ServeOptions,
  connect: (socket: string) => Promise<DriverTransport>,
])[] = [
  ['vhost-user', (vhostUser) => ({ vhostUser }), (socket) => connectVhostUser(socket)],
  ['vfio-user', (vfioUser) => ({ vfioUser }), (socket) => connectVfioUser(socket)],
];

for (const [name, at, connect] of TRANSPORTS) {
  test(`over ${name}: replaced again and again under load, no request is lost, fails or is answered by anything else`, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
    const socket = join(folder, 'device.sock');
    const warnings: string[] = [];
    const server = await serve(version(0), { ...at(socket), warn: (line) => warnings.push(line) });
    try {
      const driver = await TestDriver.open(await connect(socket));
      const counts = new Set<number>();
      const versions = new Set<number>();
      let sent = 0;
      const one = async (): Promise<void> => {
        const arg1 = sent++;
        const answer = await driver.request({ type: 0, arg1, arg2: 0, arg3: 0, arg4: '' });
        assert.equal(answer.arg1, arg1);
        versions.add(answer.ret);
        counts.add(answer.arg2);
      };
      for (let round = 1; round <= 20; round++) {
        const load = Array.from({ length: 300 }, one);
        assert.deepEqual(server.replace(version(round)), [{ socket }]);
        const [refused] = server.replace(version(round, 46));
        assert.ok(refused?.error instanceof ReplaceError);
        const [failed] = server.replace(version(BROKEN));
        assert.match(failed!.error!.message, /^broken$/);
        await Promise.all(load);
      }
      assert.equal(sent, 6000);
      assert.equal(counts.size, 6000, 'the count went from device to device');
      assert.ok(versions.size >= 19, [...versions].join());
      assert.ok(!versions.has(BROKEN));
      assert.deepEqual(warnings, []);
      await driver.close();
    } finally {
      server.close();
      rmSync(folder, { recursive: true, force: true });
    }
  });
}
