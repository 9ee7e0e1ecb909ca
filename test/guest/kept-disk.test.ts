import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { blk } from '../../examples/blk.js';
import { deviceArgs } from '../../src/cli/qemu-args.js';
import '../accel.js';
import { DEATHS, dieHow } from '../keeper/die-how.js';
import { keeperServing, servingPid } from '../keeper/keeper-process.js';
import { checkDisk, makeDisk, SCRIPT, sayEnough } from './disk-under-load.js';
import { diskTools } from './examples/disk-tools.js';
import { boot } from './guest.js';

/** `VIRTIO_MISC_KILLS=100` for the long way. */
const KILLS = Number(process.env.VIRTIO_MISC_KILLS ?? 5);
/** A guest boots for each; both the long way only. */
const TRANSPORTS = KILLS > 5 ? (['vhost-user', 'vfio-user'] as const) : (['vfio-user'] as const);

const DEVICE = fileURLToPath(new URL('../../examples/blk.js', import.meta.url));

for (const transport of TRANSPORTS) {
  test(`a disk whose process is killed ${KILLS} times under a guest's file system: nothing in it is wrong, and QEMU notices nothing (${transport})`, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
    const [file, socket, log] = ['disk.img', 'disk.sock', 'log'].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    makeDisk(file);
    const args = [DEVICE, '--quiet', '--no-watch', '--no-type-check'];
    const keeper = await keeperServing(socket, log, args, { ...dieHow(), DISK: file }, transport);
    let begin: () => void = () => {};
    const begun = new Promise<void>((resolve) => {
      begin = resolve;
    });
    let said = '';
    try {
      const guest = boot(deviceArgs(blk({ file })(), transport, socket, 'virtio0'), SCRIPT, {
        cpus: 2,
        files: await diskTools(),
        timeout: 240_000 + 5_000 * KILLS,
        onConsole: (line) => {
          if (line === 'begin') begin();
        },
        onSaid: (text) => {
          said += text;
        },
      });
      guest.catch(() => {});
      await Promise.race([begun, guest]);
      let last: number | undefined;
      for (let killed = 0; killed < KILLS; ) {
        const over = await Promise.race([guest.then(() => true), sleep(900 * Math.random())]);
        assert.ok(over !== true, readFileSync(log, 'utf8'));
        const pid = servingPid(keeper.pid!, 'memory-backend-memfd');
        if (pid === undefined || pid === last) continue;
        process.kill(pid, DEATHS[killed % DEATHS.length]!);
        last = pid;
        killed += 1;
      }
      await Promise.race([sleep(500), guest]);
      sayEnough(file);
      const files = checkDisk(await guest);
      assert.equal(said, '', 'what QEMU says');
      assert.doesNotMatch(readFileSync(log, 'utf8'), /dropped|broken|refused/);
      t.diagnostic(`${KILLS} kills, ${files} files`);
    } finally {
      keeper.kill('SIGKILL');
      rmSync(folder, { recursive: true, force: true });
    }
  });
}
