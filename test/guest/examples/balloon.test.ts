import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { start, virtioMisc } from '../../virtio-misc.js';

const BALLOON = fileURLToPath(new URL('../../../../examples/balloon.ts', import.meta.url));
const MIB = 2 ** 20;

for (const transport of ['vhost-user', 'vfio-user']) {
  test(`Linux's own driver gives memory and statistics when asked, over ${transport}`, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
    const control = join(folder, 'control');
    const child = start([
      ...['vm', '--device', BALLOON, '--set', 'target=16M', '--transport', transport],
      ...['--control', control, '--exec', 'echo up; sleep 1000'],
    ]);
    try {
      for await (const line of createInterface({ input: child.stdout! })) if (line === 'up') break;
      child.stdout!.resume();
      child.stderr!.resume();
      /** What the guest gave, once it is this. */
      const gives = async (given: number): Promise<void> => {
        for (;;) {
          const { lines, stderr } = await virtioMisc('ctl', control, 'state');
          const state = JSON.parse(lines[0] ?? assert.fail(stderr)) as { asked: number; given: number };
          assert.equal(state.asked, given);
          if (state.given === given) return;
        }
      };
      await gives(16 * MIB);
      const stats = async (): Promise<Record<string, number>> =>
        JSON.parse((await virtioMisc('ctl', control, 'stats')).lines[0]!) as Record<string, number>;
      const before = await stats();
      assert.deepEqual((await virtioMisc('ctl', control, 'target', '64M')).lines, ['asked for 64 MiB']);
      await gives(64 * MIB);
      const after = await stats();
      assert.ok(after.free! < before.free! - 32 * MIB, `${before.free} and then ${after.free}`);
      await virtioMisc('ctl', control, 'target', '0');
      await gives(0);
    } finally {
      child.kill('SIGKILL');
      rmSync(folder, { recursive: true, force: true });
    }
  });
}
