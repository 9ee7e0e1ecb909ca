import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { deviceArgs } from '../../src/cli/qemu-args.js';
import { virtioMisc } from '../../src/devices/misc/device.js';
import '../accel.js';
import { DEATHS, dieHow } from '../keeper/die-how.js';
import { keeperServing, servingPid } from '../keeper/keeper-process.js';
import { boot, KERNEL_COMPLAINT } from './guest.js';

/** ms from one death to the next, at most: a worker is ready again before, unless the machine is busy. */
const BETWEEN = 900;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** `VIRTIO_MISC_KILLS=50` for the long way. */
const KILLS = Number(process.env.VIRTIO_MISC_KILLS ?? 5);
/** A guest boots for each; packed rings the long way only. */
const RINGS = KILLS > 5 ? [[], ['--features', 'packed']] : [[]];

for (const features of RINGS) {
  test(`1,000 timers of a guest, and their device's process killed all the while: none early, lost, twice, or after its cancel ${features.join(' ')}`, async (t) => {
    const socket = join(folder, 'device.sock');
    const log = join(folder, 'log');
    const keeper = await keeperServing(socket, log, ['misc', '--quiet', ...features], dieHow(), 'vfio-user');
    let over = false;
    let ready = false;
    let said = '';
    let killed = 0;
    try {
      const kill = async (): Promise<void> => {
        let last: number | undefined;
        while (!over && killed < KILLS) {
          await sleep(BETWEEN * Math.random());
          const pid = ready ? servingPid(keeper.pid!, 'memory-backend-memfd') : undefined;
          if (pid === undefined || pid === last) continue;
          process.kill(pid, DEATHS[killed % DEATHS.length]!);
          last = pid;
          killed += 1;
        }
      };
      const killing = kill();
      const { exitCode, console } = await boot(
        deviceArgs(virtioMisc()(), 'vfio-user', socket, 'virtio0'),
        `echo ready; misc-timer-stress --processes 8 --timers 1000 --min-ms 1 --max-ms ${3000 + KILLS * BETWEEN} --cancel-third && misc-timer 50 25`,
        {
          timeout: 240_000 + 5000 * KILLS,
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
      await killing;
      const all = console.join('\n');
      assert.equal(exitCode, 0, `${all}\n${readFileSync(log, 'utf8')}`);
      const sum =
        /^1000 timers: \d+ expired, \d+ cancelled; 0 early, 0 lost, 0 twice, 0 after cancel, 0 out of order, 0 failed/m;
      assert.match(all, sum);
      assert.match(all, /timer \d+ \(25 ms\) expired/);
      assert.deepEqual(
        console.filter((line) => KERNEL_COMPLAINT.test(line)),
        [],
      );
      assert.equal(said, '', 'what QEMU says');
      assert.ok(killed >= Math.min(3, KILLS), `${killed} were killed`);
      assert.doesNotMatch(readFileSync(log, 'utf8'), /dropped|broken|refused/);
      t.diagnostic(`${killed} workers died; ${console.find((line) => line.startsWith('1000 timers'))}`);
    } finally {
      over = true;
      keeper.kill('SIGKILL');
    }
  });
}
