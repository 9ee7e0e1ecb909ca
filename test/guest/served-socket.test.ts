import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { deviceArgs } from '../../src/cli/qemu-args.js';
import { virtioMisc } from '../../src/devices/misc/device.js';
import { virtioTest } from '../../src/devices/test/device.js';
import { VmError } from '../../src/vm/vm-error.js';
import { start } from '../virtio-misc.js';
import { boot } from './guest.js';

/** MiB that a process holds in memory of its own, without what it shares with a guest. */
function ownMemory(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/RssAnon:\s+(\d+) kB/.exec(status)![1]) / 1024;
}

const openFiles = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;

for (const [transport, name, device, command] of [
  ['vhost-user', 'test', virtioTest()(), 'virtio 1'],
  ['vfio-user', 'misc', virtioMisc()(), 'misc-timer 10'],
] as const) {
  test(`${transport}: QEMU after QEMU is killed, and the device process serves the next as if nothing had been`, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
    const socket = join(folder, 'device.sock');
    const server = start(['serve', name, `--${transport}`, socket, '--log', 'json']);
    const pid = server.pid!;
    server.stdout!.resume();
    const log = createInterface({ input: server.stderr! })[Symbol.asyncIterator]();
    const logged = async (words: string): Promise<void> => {
      for (let line = await log.next(); !line.value.includes(words); line = await log.next()) {
        assert.ok(!line.done, `the device process ended before it said '${words}'`);
      }
    };
    const args = deviceArgs(device, transport, socket, 'virtio0');
    const killed = async (): Promise<void> => {
      let qemu = 0;
      await assert.rejects(
        boot(args, `${command}; echo answered; sleep 1000`, {
          onSpawn: (id) => {
            qemu = id;
          },
          onConsole: (line) => line === 'answered' && process.kill(qemu, 'SIGKILL'),
        }),
        (error) => error instanceof VmError && error.code === 'QEMU',
      );
      await logged('front-end left');
    };
    try {
      await logged('serving');
      // The first one warms everything up.
      await killed();
      const files = openFiles(pid);
      const memory = ownMemory(pid);
      for (let i = 0; i < 3; i++) await killed();
      assert.equal(openFiles(pid), files);
      assert.ok(ownMemory(pid) < memory + 40, `${memory} MiB grew to ${ownMemory(pid)} MiB`);
      const { exitCode } = await boot(args, command);
      assert.equal(exitCode, 0);
      server.kill('SIGTERM');
      assert.deepEqual(await once(server, 'exit'), [0, null]);
      assert.deepEqual(readdirSync(folder), []);
    } finally {
      server.kill('SIGKILL');
      rmSync(folder, { recursive: true, force: true });
    }
  });
}
