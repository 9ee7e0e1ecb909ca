import assert from 'node:assert/strict';
import { test } from 'node:test';
import { virtioMisc } from '../../src/devices/misc/device.js';
import { virtioTest } from '../../src/devices/test/device.js';
import { KERNEL_COMPLAINT, runGuest } from './guest.js';

/*
 * Linux's own packed rings against ours, over our PCI function and through QEMU's vhost-user device, which hands on what we offer.
 */

const QUIET = 'echo Y > /sys/module/virtio_test/parameters/quiet';
/** INDIRECT_DESC, EVENT_IDX, RING_PACKED: what the guest's driver and the device agreed on. */
const NEGOTIATED = 'echo agreed $(cut -c29,30,35 /sys/bus/virtio/devices/virtio0/features)';

for (const transport of ['vhost-user', 'vfio-user'] as const) {
  for (const on of [true, false]) {
    const name = on ? 'with EVENT_IDX and INDIRECT_DESC' : 'without them';
    test(`2.8: 16 processes make 5,000 requests over packed rings and ${transport}, ${name}`, async () => {
      const { exitCode, console, device, warnings } = await runGuest(
        virtioTest(),
        transport,
        `${NEGOTIATED}; ${QUIET}; virtio-stress 16 5000`,
        { features: { packed: true, eventIdx: on, indirectDesc: on } },
      );
      const all = console.join('\n');
      assert.equal(exitCode, 0, all);
      assert.match(all, on ? /^agreed 111$/m : /^agreed 001$/m);
      assert.match(all, /^5000 answered, 0 wrong, 0 failed/m);
      assert.equal(device.length, 25_000);
      assert.deepEqual(warnings, []);
      assert.deepEqual(
        console.filter((line) => KERNEL_COMPLAINT.test(line)),
        [],
      );
    });
  }
}

test('2.8: timers expire over packed rings, each once and none early', async () => {
  const { exitCode, console, device, warnings } = await runGuest(
    virtioMisc(),
    'vfio-user',
    `${NEGOTIATED}; misc-timer 300 100 200`,
    { features: { packed: true } },
  );
  const all = console.join('\n');
  assert.equal(exitCode, 0, all);
  assert.match(all, /^agreed 111$/m);
  const expiries = [...all.matchAll(/^timer \d+ \((\d+) ms\) expired after ([\d.]+) ms/gm)];
  assert.deepEqual(expiries.map(([, delay]) => delay).toSorted(), ['100', '200', '300']);
  for (const [line, delay, after] of expiries) assert.ok(Number(after) >= Number(delay), line);
  assert.equal(device.filter((line) => line.includes(' expired')).length, 3);
  assert.deepEqual(warnings, []);
});
