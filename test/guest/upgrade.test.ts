import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { deviceArgs, PATIENT } from '../../src/cli/qemu-args.js';
import { runErrand } from '../../src/cli/run-errand.js';
import { virtioTest } from '../../src/devices/test/device.js';
import '../accel.js';
import { keeperServing } from '../keeper/keeper-process.js';
import { boot, KERNEL_COMPLAINT } from './guest.js';

const QUIET = 'echo Y > /sys/module/virtio_test/parameters/quiet';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

for (const transport of ['vhost-user', 'vfio-user'] as const) {
  test(`64 processes make requests of a device that is upgraded all the time: each gets its own answer, and QEMU notices nothing (${transport})`, async (t) => {
    const socket = join(folder, 'device.sock');
    const log = join(folder, 'log');
    const wanted = Number(process.env.VIRTIO_MISC_UPGRADES ?? 4);
    const keeper = await keeperServing(socket, log, undefined, {}, transport);
    const rounds = Math.max(12, 2 * wanted);
    const gaps: number[] = [];
    let over = false;
    let ready = false;
    let said = '';
    try {
      const upgrade = async (): Promise<void> => {
        while (!over && gaps.length < wanted) {
          await sleep(100);
          if (!ready) continue;
          const line = (await runErrand(socket, () => ({ do: 'upgrade' }))).said;
          const gap = /for ([\d.]+) ms$/.exec(line);
          // With the guest the front-end goes.
          if (gap !== null) gaps.push(Number(gap[1]));
        }
      };
      const upgraded = upgrade().catch((error: unknown) => {
        if (!over) throw error;
      });
      upgraded.catch(() => {});
      const { exitCode, console } = await boot(
        deviceArgs(virtioTest()(), transport, socket, 'virtio0', undefined, PATIENT),
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
      await upgraded;
      const all = console.join('\n');
      assert.equal(exitCode, 0, all);
      const right = console.filter((line) => line.startsWith('5000 answered, 0 wrong, 0 failed'));
      assert.equal(right.length, rounds, all);
      assert.deepEqual(
        console.filter((line) => KERNEL_COMPLAINT.test(line)),
        [],
      );
      assert.equal(said, '', 'what QEMU says');
      gaps.sort((a, b) => a - b);
      t.diagnostic(
        `${gaps.length} upgrades, for ${rounds * 5000} requests: nobody served for ${gaps[gaps.length >> 1]} ms (p50), ${gaps.at(-1)} ms at most`,
      );
      assert.ok(gaps.length >= 3, readFileSync(log, 'utf8'));
      assert.doesNotMatch(readFileSync(log, 'utf8'), /dropped|broken|refused|died/);
    } finally {
      over = true;
      keeper.kill('SIGKILL');
    }
  });
}
