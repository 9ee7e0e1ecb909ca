import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { deviceArgs } from '../../src/cli/qemu-args.js';
import { virtioMisc } from '../../src/devices/misc/device.js';
import { virtioTest } from '../../src/devices/test/device.js';
import { serve } from '../../src/serve.js';
import type { VirtioDevice } from '../../src/virtio/device.js';
import type { RingFeatures } from '../../src/virtio/ring-features.js';
import { boot, KERNEL_COMPLAINT } from './guest.js';

/** Memory of QEMU's own, in place of that which it shares: the device reaches it by messages. */
const PRIVATE = [
  ...['-object', 'memory-backend-ram,id=private,size=256M'],
  ...['-machine', 'memory-backend=private'],
];

async function run(
  make: () => VirtioDevice,
  exec: readonly string[],
  vectors?: number,
  features: RingFeatures = {},
): Promise<{ console: readonly string[]; warnings: readonly string[] }> {
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  const socket = join(folder, 'device.sock');
  const warnings: string[] = [];
  let mapped = false;
  const server = await serve(make, {
    vfioUser: socket,
    ...(vectors !== undefined && { vectors }),
    features,
    print: () => {
      mapped ||= readFileSync('/proc/self/maps', 'utf8').includes('/memfd:memory-backend');
    },
    warn: (line) => void warnings.push(line),
  });
  try {
    const devices = [...deviceArgs(make(), 'vfio-user', socket, 'virtio0'), ...PRIVATE];
    const { exitCode, console } = await boot(devices, exec);
    assert.equal(exitCode, 0, console.join('\n'));
    assert.equal(mapped, false, 'the memory was shared after all');
    for (const line of console) assert.doesNotMatch(line, KERNEL_COMPLAINT);
    return { console, warnings };
  } finally {
    server.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

for (const vectors of [undefined, 0]) {
  const interrupts = vectors === 0 ? 'INTx' : 'MSI-X';
  test(`a guest whose memory is not shared sets timers, and again after a reboot, with ${interrupts}`, async () => {
    // Each is due after those before it, however long a slow guest takes to set it.
    const timers = 'misc-timer 100 200 300';
    const { console, warnings } = await run(virtioMisc(), [timers, timers], vectors);
    const fired = console.map((line) => /\((\d+) ms\) expired/.exec(line)?.[1]);
    assert.deepEqual(
      fired.filter((delay) => delay !== undefined),
      ['100', '200', '300', '100', '200', '300'],
    );
    assert.deepEqual(warnings, []);
  });
}

for (const packed of [false, true]) {
  test(`processes of such a guest write at once, and each gets its own answer, with ${packed ? 'packed' : 'split'} rings`, async () => {
    const exec =
      'echo packed $(cut -c35 /sys/bus/virtio/devices/virtio0/features); for p in 1 2 3 4 5 6 7 8; do (for n in 1 2 3 4 5 6 7 8 9 10; do virtio $n || exit 1; done) & done; wait';
    const { console, warnings } = await run(virtioTest(), [exec], undefined, { packed });
    assert.ok(
      console.some((line) => line.includes(`packed ${packed ? 1 : 0}`)),
      'what was negotiated',
    );
    const answers = console.map((line) => /virtio response ret is (\d+)/.exec(line)?.[1]);
    const counts = new Map<string, number>();
    for (const answer of answers) {
      if (answer !== undefined) counts.set(answer, (counts.get(answer) ?? 0) + 1);
    }
    const expected = Array.from({ length: 10 }, (_, i) => [`${i + 1 + 101}`, 8] as const);
    assert.deepEqual([...counts].sort(), expected.sort());
    assert.deepEqual(warnings, []);
  });
}
