import assert from 'node:assert/strict';
import { test } from 'node:test';
import { debugGuest, NO_LEAKS, SUSPEND } from './debug-guest.js';

test("the modules' own tests, each context, a stress, a fault in read(): no splat, no leak", async () => {
  const { exitCode, all, console } = await debugGuest(
    `modprobe virtio_misc_selftest && rmmod virtio_misc_selftest && modprobe virtio_misc_demo &&
     modprobe vmisc_contexts_test && rmmod vmisc_contexts_test && misc-timer-read fault &&
     misc-timer-stress --grace-ms 300000 --processes 4 --timers 2000 --max-ms 2000 --cancel-third &&
     rmmod virtio_misc_demo && rmmod virtio_misc && modprobe virtio_misc && misc-timer 20 || exit
     ${NO_LEAKS}`,
  );
  assert.equal(exitCode, 0, all);
  assert.equal(console.filter((line) => /virtio_misc_selftest: ok \d+ - /.test(line)).length, 9, all);
  assert.equal(console.filter((line) => /vmisc_contexts_test: ok: /.test(line)).length, 10, all);
  assert.match(all, /^2000 timers: .*; 0 early, 0 lost, 0 twice, 0 after cancel, 0 out of order, 0 failed/m);
});

test('a callback that is slower than its timer does not keep the system from suspending', async () => {
  const { exitCode, all } = await debugGuest(
    `${SUSPEND}
     modprobe vmisc_slow_test || exit
     for i in 1 2 3; do
       calls=$(cat /sys/module/vmisc_slow_test/parameters/calls)
       until [ $(cat /sys/module/vmisc_slow_test/parameters/calls) -gt $((calls + 3)) ]; do sleep 0.1; done
       suspend || exit
     done
     rmmod vmisc_slow_test && echo suspended three times`,
  );
  assert.equal(exitCode, 0, all);
  assert.match(all, /^suspended three times$/m);
  assert.doesNotMatch(all, /Freezing .* failed|EBUSY|refusing to freeze/);
});

test('a selftest that fails, as the device is not heard, leaves nothing behind', async () => {
  const { all } = await debugGuest(
    `hold=/sys/kernel/debug/virtio_misc/notify_hold
     cd /sys/bus/virtio/drivers/virtio_misc && echo virtio0 >unbind && echo 1 >$hold && echo virtio0 >bind || exit
     modprobe virtio_misc_selftest wait_ms=300 && exit 98
     echo 0 >$hold
     misc-timer 20 && sleep 12 && echo nothing came
     ${NO_LEAKS}`,
  );
  assert.match(all, /virtio_misc_selftest: not ok/);
  assert.match(all, /^nothing came$/m);
  assert.doesNotMatch(all, /^LEAK$/m);
});

test('the driver is unbound, unloaded and loaded while programs and modules set, await and cancel timers', async () => {
  const { exitCode, all } = await debugGuest(
    `cd /sys/bus/virtio/drivers
     for i in 1 2 3; do
       misc-timer-stress --arm 500 --delay-ms 600000 >/tmp/armed & armed=$!
       misc-timer-stress --grace-ms 300000 --processes 4 --timers 4000 --max-ms 3000 --cancel-third >/dev/null 2>&1 & stress=$!
       modprobe vmisc_slow_test && modprobe virtio_misc_demo || exit
       until grep -q armed /tmp/armed; do sleep 0.1; done
       echo virtio0 >virtio_misc/unbind
       wait $stress; wait $armed; cat /tmp/armed
       echo virtio0 >virtio_misc/bind && modprobe vmisc_slow_test && misc-timer 20 || exit
       echo virtio0 >virtio_misc/unbind
       rmmod virtio_misc_demo && rmmod vmisc_slow_test && rmmod virtio_misc && modprobe virtio_misc && misc-timer 20 || exit
     done
     ${NO_LEAKS}`,
  );
  assert.equal(exitCode, 0, all);
  assert.equal([...all.matchAll(/^0 of 500 timers expired, then: No such device$/gm)].length, 3, all);
});
