import assert from 'node:assert/strict';
import { test } from 'node:test';
import { virtioMisc } from '../../src/devices/misc/device.js';
import { KERNEL_COMPLAINT, runGuest } from './guest.js';

/** `timer 2 (250 ms) expired after 255.620 ms, late by 5.620 ms` */
const EXPIRY = /^timer \d+ \((\d+) ms\) expired after ([\d.]+) ms, late by [\d.]+ ms$/;

/** `virtio-misc: timer 1 set for 500 ms` */
const SET = /^virtio-misc: timer (\d+) set for ([\d.]+) ms$/;

for (const [vectors, interrupts] of [
  [undefined, ['virtio0-config', 'virtio0-controlq', 'virtio0-notifyq']],
  [0, ['virtio0']],
] as const) {
  test(`three timers expire, each once, none early, and the guest hears in the device's order, with ${vectors === 0 ? 'INTx' : 'MSI-X'}`, async () => {
    const { exitCode, console, device, warnings } = await runGuest(
      virtioMisc(),
      'vfio-user',
      'misc-timer 500 250 1000 && grep virtio0 /proc/interrupts',
      vectors === undefined ? {} : { vectors },
    );
    assert.equal(exitCode, 0, console.join('\n'));
    const expiries = console.map((line) => EXPIRY.exec(line)).filter((match) => match !== null);
    // Which of the first two is due first depends on how soon after the one the other was set. The last one is so by any measure.
    const order = expiries.map((match) => match[1]);
    assert.deepEqual(order.toSorted(), ['1000', '250', '500']);
    assert.equal(order.at(-1), '1000');
    for (const [line, delay, after] of expiries) assert.ok(Number(after) >= Number(delay), line);
    // What a request had to wait for in a slow guest is taken off, if that is a millisecond or more.
    const set = device.map((line) => SET.exec(line)).filter((match) => match !== null);
    assert.deepEqual(
      set.map(([, id, delay]) => [id, Math.ceil(Number(delay) / 250) * 250]),
      [
        ['1', 500],
        ['2', 250],
        ['3', 1000],
      ],
    );
    const ids: Readonly<Record<string, number>> = { '500': 1, '250': 2, '1000': 3 };
    assert.deepEqual(
      device.filter((line) => line.includes(' expired')).map((line) => line.replace(/, late by .*/, '')),
      order.map((delay) => `virtio-misc: timer ${ids[delay!]} expired`),
    );
    const seen = console
      .filter((line) => /PCI-MSI|IO-APIC/.test(line))
      .map((line) => line.trim().split(/ +/).at(-1));
    assert.deepEqual(seen, interrupts);
    assert.deepEqual(warnings, []);
  });
}

test('the demo module gets func(context) called with the contexts that it gave', async () => {
  const { console } = await runGuest(
    virtioMisc(),
    'vfio-user',
    `modprobe virtio_misc_demo && until [ $(dmesg | grep -c 'func(context) called') -ge 3 ]; do sleep 0.1; done
     rmmod virtio_misc_demo`,
  );
  const contexts = console.map((line) => /func\(context\) called with context "(\w+)" after/.exec(line)?.[1]);
  const called = contexts.filter((context) => context !== undefined);
  assert.deepEqual(called.toSorted(), ['first', 'second', 'third']);
  // The third was set before them, which a slow guest may have taken long for.
  assert.ok(called.indexOf('first') < called.indexOf('second'), called.join(', '));
});

test('10,000 timers from 8 processes, a third cancelled: none early, lost, twice, or after its cancel', async () => {
  const { exitCode, console, warnings } = await runGuest(
    virtioMisc(),
    'vfio-user',
    'misc-timer-stress --processes 8 --timers 10000 --min-ms 1 --max-ms 5000 --cancel-third',
  );
  const all = console.join('\n');
  assert.equal(exitCode, 0, all);
  assert.match(
    all,
    /^10000 timers: \d+ expired, \d+ cancelled; 0 early, 0 lost, 0 twice, 0 after cancel, 0 out of order, 0 failed/m,
  );
  assert.deepEqual(warnings, []);
  assert.deepEqual(
    console.filter((line) => KERNEL_COMPLAINT.test(line)),
    [],
  );
});

test('with 1,000 timers armed: the file closed, the driver removed and loaded, the guest rebooted', async () => {
  const { exitCode, console, device, warnings } = await runGuest(virtioMisc(), 'vfio-user', [
    `misc-timer-stress --arm 1000 --delay-ms 600000 --exit && misc-timer 10 || exit
     misc-timer-stress --arm 1000 --delay-ms 600000 >/tmp/first & armed=$!
     until grep armed /tmp/first; do sleep 0.1; done
     echo virtio0 >/sys/bus/virtio/drivers/virtio_misc/unbind; wait $armed; echo "stress ended with $?"
     rmmod virtio_misc && modprobe virtio_misc && misc-timer 20 &&
     { misc-timer-stress --arm 1000 --delay-ms 600000 >/tmp/second & until grep armed /tmp/second; do sleep 0.1; done; }`,
    'misc-timer 30',
  ]);
  const all = console.join('\n');
  assert.equal(exitCode, 0, all);
  for (const delay of [10, 20, 30])
    assert.ok(
      console.some((line) => EXPIRY.exec(line)?.[1] === `${delay}`),
      all,
    );
  // Minutes are left of those; what is taken off is what their requests had to wait for.
  const long = device.filter((line) => Number(SET.exec(line)?.[2] ?? 0) > 300_000);
  assert.equal(long.length, 3000);
  assert.equal(device.filter((line) => line.includes('expired')).length, 3);
  assert.deepEqual(warnings, []);
  assert.deepEqual(
    console.filter((line) => KERNEL_COMPLAINT.test(line)),
    [],
  );
});

test('a driver that posts its notification buffers late loses nothing', async () => {
  const { exitCode, console, device } = await runGuest(
    virtioMisc(),
    'vfio-user',
    `hold=/sys/kernel/debug/virtio_misc/notify_hold
     cd /sys/bus/virtio/drivers/virtio_misc && echo virtio0 >unbind && echo 1 >$hold && echo virtio0 >bind || exit
     misc-timer-stress --arm 1000 --delay-ms 1 >/tmp/held & held=$!
     until grep armed /tmp/held; do sleep 0.1; done
     echo 0 >$hold
     wait $held && cat /tmp/held`,
  );
  const all = console.join('\n');
  assert.equal(exitCode, 0, all);
  assert.match(all, /^1000 of 1000 timers expired/m);
  // All were set before the first could be told.
  const firstTold = device.findIndex((line) => line.includes('expired'));
  assert.equal(device.slice(0, firstTold).filter((line) => line.includes('set for')).length, 1000);
  assert.equal(device.length, 2000);
});

test('what the module exports to other modules holds: order, atomic context, cancelling, periodic timers', async () => {
  const { exitCode, console, warnings } = await runGuest(
    virtioMisc(),
    'vfio-user',
    'modprobe virtio_misc_selftest',
  );
  const all = console.join('\n');
  assert.equal(exitCode, 0, all);
  assert.equal(console.filter((line) => /virtio_misc_selftest: ok \d+ - /.test(line)).length, 9, all);
  assert.deepEqual(warnings, []);
  assert.deepEqual(
    console.filter((line) => KERNEL_COMPLAINT.test(line)),
    [],
  );
});
