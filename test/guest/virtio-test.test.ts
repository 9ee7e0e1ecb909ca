import assert from 'node:assert/strict';
import { test } from 'node:test';
import { virtioTest } from '../../src/devices/test/device.js';
import { KERNEL_COMPLAINT, runGuest } from './guest.js';

const QUIET = 'echo Y > /sys/module/virtio_test/parameters/quiet';

for (const transport of ['vhost-user', 'vfio-user'] as const) {
  test(`64 processes make 10,000 requests over ${transport}: each gets its own answer`, async () => {
    const { exitCode, console, device, warnings } = await runGuest(
      virtioTest(),
      transport,
      `${QUIET}; virtio-stress 64 10000`,
    );
    assert.equal(exitCode, 0, console.join('\n'));
    assert.ok(
      console.some((line) => line.startsWith('10000 answered, 0 wrong, 0 failed')),
      console.join('\n'),
    );
    assert.equal(device.length, 50_000);
    assert.deepEqual(warnings, []);
    assert.deepEqual(
      console.filter((line) => KERNEL_COMPLAINT.test(line)),
      [],
    );
  });
}

for (const transport of ['vhost-user', 'vfio-user'] as const) {
  test(`polled over ${transport}, as long as it pays: the same`, async () => {
    const { exitCode, console, device, warnings } = await runGuest(
      virtioTest(),
      transport,
      `${QUIET}; virtio-stress 16 2000`,
      { poll: true },
    );
    const all = console.join('\n');
    assert.equal(exitCode, 0, all);
    assert.match(all, /^2000 answered, 0 wrong, 0 failed/m);
    assert.equal(device.length, 10_000);
    assert.deepEqual(warnings, []);
  });
}

test('the driver is removed and loaded again under that load, and the guest rebooted', async () => {
  // Taking the device from the driver first makes the writers let go of its file, which holds the module.
  const load = `${QUIET}
    (until [ -e /tmp/enough ]; do virtio-stress --tolerate-removal 64 10000 || exit; done) & stress=$!
    module=$(find /lib/modules -name virtio_test.ko)
    interrupts() { awk '/virtio0/ { sum += $2 } END { print sum + 0 }' /proc/interrupts; }
    for i in 1 2 3 4 5; do
      before=$(interrupts)
      until [ $(interrupts) -ge $((before + 100)) ]; do sleep 0.01; done
      echo virtio0 >/sys/bus/virtio/drivers/virtio_test/unbind
      until rmmod virtio_test 2>/dev/null; do sleep 0.01; done
      insmod $module quiet=Y
      echo removed and loaded again
    done
    touch /tmp/enough
    wait $stress`;
  const { exitCode, console, warnings } = await runGuest(virtioTest(), 'vhost-user', [load, 'virtio 10']);
  const all = console.join('\n');
  assert.equal(exitCode, 0, all);
  const rounds = console.filter((line) => line.includes(' answered, '));
  assert.ok(rounds.length >= 1, all);
  for (const line of rounds) assert.match(line, /^10000 answered, 0 wrong, 0 failed/);
  assert.equal(console.filter((line) => line === 'removed and loaded again').length, 5, all);
  assert.match(all, /virtio response ret is 111$/m, 'answers after the reboot');
  assert.deepEqual(warnings, []);
  assert.deepEqual(
    console.filter((line) => KERNEL_COMPLAINT.test(line)),
    [],
  );
});
