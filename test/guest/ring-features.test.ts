import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Hub, net } from '../../examples/net.js';
import { virtioTest } from '../../src/devices/test/device.js';
import { Station } from '../examples/station.js';
import { KERNEL_COMPLAINT, runGuest } from './guest.js';

/* Linux's own driver for virtio-pci, against our function: it takes these features wherever it knows them. */

const QUIET = 'echo Y > /sys/module/virtio_test/parameters/quiet';
const RING_SIZE = fileURLToPath(new URL('../../../test/guest/ring-size.c', import.meta.url));
/** From Linux 6.4 on a notification may have data. */
const KERNEL = 'newest';

for (const packed of [false, true]) {
  test(`2.9: 16 processes make 3,000 requests with data in their notifications, over ${packed ? 'packed' : 'split'} rings`, async () => {
    const { exitCode, console, warnings } = await runGuest(
      virtioTest(),
      'vfio-user',
      // ACCESS_PLATFORM, RING_PACKED, ORDER_PLATFORM, NOTIFICATION_DATA, RING_RESET.
      `echo agreed $(cut -c34,35,37,39,41 /sys/bus/virtio/devices/virtio0/features); ${QUIET}; virtio-stress 16 3000`,
      { features: { packed, accessPlatform: true, orderPlatform: true }, kernel: KERNEL },
    );
    const all = console.join('\n');
    assert.equal(exitCode, 0, all);
    assert.match(all, packed ? /^agreed 11111$/m : /^agreed 10111$/m);
    assert.match(all, /^3000 answered, 0 wrong, 0 failed/m);
    assert.deepEqual(warnings, []);
    assert.deepEqual(
      console.filter((line) => KERNEL_COMPLAINT.test(line)),
      [],
    );
  });
}

test('2.6.1: Linux resets both queues of a network card to make them smaller, and pings on', async () => {
  const hub: Hub = new Set();
  const station = await Station.join(hub, Uint8Array.of(10, 0, 0, 1));
  const script = `
    set -e
    ip address add 10.0.0.2/24 dev eth0
    ip link set eth0 up
    ping -c 3 -w 60 10.0.0.1
    for size in 64 32 128; do
      ring-size eth0 $size $size
      ping -c 20 -i 0.05 -q -w 60 10.0.0.1
    done
  `;
  try {
    const { exitCode, console, warnings } = await runGuest(net(hub), 'vfio-user', script, {
      tools: [RING_SIZE],
      kernel: KERNEL,
    });
    const all = console.join('\n');
    assert.equal(exitCode, 0, all);
    assert.deepEqual(
      console.filter((line) => line.startsWith('rings of')),
      [64, 32, 128].map((size) => `rings of ${size} and ${size}`),
    );
    assert.equal(all.match(/^20 packets transmitted, 20 packets received/gm)?.length, 3);
    assert.deepEqual(warnings, []);
    assert.deepEqual(
      console.filter((line) => KERNEL_COMPLAINT.test(line)),
      [],
    );
  } finally {
    await station.close();
  }
});
