import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { deviceArgs } from '../../src/cli/qemu-args.js';
import { virtioTest } from '../../src/devices/test/device.js';
import '../accel.js';
import { dieAt, diedAt, dieInEach } from '../keeper/die-at.js';
import { DEATHS, dieHow } from '../keeper/die-how.js';
import { deaths, keeperServing, servingPid } from '../keeper/keeper-process.js';
import { boot, KERNEL_COMPLAINT } from './guest.js';

const QUIET = 'echo Y > /sys/module/virtio_test/parameters/quiet';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** QEMU gives a vfio-user server up that does not answer for 5 s: on a busy machine two workers take as long to start. */
function patient(args: readonly string[]): string[] {
  return args.map((arg) =>
    arg.replace('{"driver":"vfio-user-pci",', '{"driver":"vfio-user-pci","x-msg-timeout":60000,'),
  );
}

for (const transport of ['vhost-user', 'vfio-user'] as const) {
  test(`64 processes make requests of a device whose process is killed all the time: each gets its own answer, and QEMU notices nothing (${transport})`, async (t) => {
    const socket = join(folder, 'device.sock');
    const log = join(folder, 'log');
    const wanted = Number(process.env.VIRTIO_MISC_KILLS ?? 10);
    const keeper = await keeperServing(socket, log, undefined, dieHow(), transport);
    // Enough for so many of them to be killed on a quick machine.
    const rounds = Math.max(12, wanted);
    let over = false;
    let ready = false;
    let said = '';
    try {
      const kill = async (): Promise<void> => {
        while (!over) {
          await sleep(1000 * Math.random());
          if (!ready || deaths(log).length >= wanted) continue;
          const pid = servingPid(keeper.pid!, 'memory-backend-memfd');
          const died = deaths(log);
          if (pid !== undefined && !died.includes(pid))
            process.kill(pid, DEATHS[died.length % DEATHS.length]!);
        }
      };
      const killed = kill();
      const { exitCode, console } = await boot(
        deviceArgs(virtioTest()(), transport, socket, 'virtio0'),
        `${QUIET}; echo ready; until [ -e /tmp/enough ]; do virtio-stress 64 5000 || exit 1; [ $((n = n + 1)) -lt ${rounds} ] || touch /tmp/enough; done`,
        {
          timeout: 240_000 + 5000 * wanted,
          onConsole: (line) => {
            if (line === 'ready') ready = true;
          },
          onSaid: (text) => {
            said += text;
          },
        },
      ).finally(() => {
        over = true;
      });
      await killed;
      const all = console.join('\n');
      assert.equal(exitCode, 0, all);
      assert.equal(
        console.filter((line) => line.startsWith('5000 answered, 0 wrong, 0 failed')).length,
        rounds,
        all,
      );
      assert.deepEqual(
        console.filter((line) => KERNEL_COMPLAINT.test(line)),
        [],
      );
      assert.equal(said, '', 'what QEMU says');
      t.diagnostic(`${deaths(log).length} workers died, for ${rounds * 5000} requests`);
      assert.ok(deaths(log).length >= 3, readFileSync(log, 'utf8'));
      assert.doesNotMatch(readFileSync(log, 'utf8'), /dropped|broken|refused/);
    } finally {
      over = true;
      keeper.kill('SIGKILL');
    }
  });

  test(`a worker dies in each message of a boot, after it was carried out: the guest boots and works (${transport})`, async () => {
    const socket = join(folder, 'device.sock');
    const log = join(folder, 'log');
    const at = join(folder, 'die-at');
    const keeper = await keeperServing(socket, log, undefined, dieAt(at), transport);
    // Each register access is a message of vfio-user's: to die in every one of them takes a quarter of an hour.
    const each = Number(process.env.VIRTIO_MISC_KILL_EVERY ?? (transport === 'vhost-user' ? 1 : 11));
    dieInEach(at, each);
    let said = '';
    try {
      const { exitCode, console } = await boot(
        patient(deviceArgs(virtioTest()(), transport, socket, 'virtio0')),
        'virtio 10',
        {
          timeout: 1_800_000,
          bootTimeout: 1_800_000,
          onSaid: (text) => {
            said += text;
          },
        },
      );
      assert.equal(exitCode, 0, console.join('\n'));
      assert.match(console.join('\n'), /virtio response ret is 111$/m);
      assert.equal(said, '');
      assert.ok(diedAt(at) > 20, readFileSync(log, 'utf8'));
      assert.doesNotMatch(readFileSync(log, 'utf8'), /dropped|broken|refused/);
    } finally {
      keeper.kill('SIGKILL');
    }
  });
}
