import assert from 'node:assert/strict';
import { test } from 'node:test';
import { debugGuest, NO_LEAKS, SUSPEND } from './debug-guest.js';

test('timers that are set keep what is left of them through suspend and hibernation, as far as drivers are concerned', async () => {
  const { exitCode, all, console } = await debugGuest(
    `${SUSPEND}
     hibernate() { echo devices >/sys/power/pm_test && echo shutdown >/sys/power/disk && echo disk >/sys/power/state; }
     misc-timer 9000 4000 20000 & timers=$!
     misc-timer-stress --any-order --grace-ms 300000 --processes 2 --timers 500 --min-ms 1000 --max-ms 15000 & stress=$!
     sleep 1; suspend && sleep 1 && hibernate && sleep 1 && suspend || exit
     wait $timers && wait $stress || exit
     ${NO_LEAKS}`,
  );
  assert.equal(exitCode, 0, all);
  const order = console.map((line) => /^timer \d \((\d+) ms\) expired after/.exec(line)?.[1]);
  assert.deepEqual(
    order.filter((delay) => delay !== undefined),
    ['4000', '9000', '20000'],
  );
  assert.match(all, /^500 timers: 500 expired, 0 cancelled; 0 early, 0 lost, 0 twice/m);
});

test('the device is unplugged and plugged in again, with files open, timers set and callbacks running', async () => {
  const { exitCode, all } = await debugGuest(
    `pci=$(dirname $(readlink -f /sys/bus/virtio/devices/virtio0))
     for i in 1 2 3; do
       misc-timer-stress --arm 500 --delay-ms 600000 >/tmp/armed & armed=$!
       modprobe vmisc_slow_test || exit
       until grep -q armed /tmp/armed; do sleep 0.1; done
       echo 1 >$pci/remove
       wait $armed; cat /tmp/armed
       rmmod vmisc_slow_test || exit
       echo 1 >/sys/bus/pci/rescan
       until [ -e /dev/virtio-timer0 ]; do sleep 0.1; done
       misc-timer 20 || exit
     done
     ${NO_LEAKS}`,
  );
  assert.equal(exitCode, 0, all);
  assert.equal([...all.matchAll(/^0 of 500 timers expired, then: No such device$/gm)].length, 3, all);
});

test('failing allocations, in binding, opening, setting and reading: an error, and nothing left', async () => {
  const { exitCode, all } = await debugGuest(
    `cd /sys/kernel/debug/failslab && echo N >ignore-gfp-wait
     echo Y >task-filter && echo 100 >probability && echo -1 >times
     for verbose in /sys/kernel/debug/fail*/verbose; do echo 0 >$verbose; done
     try() { sh -c 'echo 1 >/proc/self/make-it-fail; exec "$@"' try "$@" 2>/dev/null; }
     cd /sys/bus/virtio/drivers/virtio_misc
     for n in 1 2 3 5 8 13 21 34 55 70 80 90; do
       echo virtio0 >unbind
       sh -c "echo $n >/proc/self/fail-nth; echo virtio0 >bind" 2>/dev/null
       [ -e virtio0 ] || echo virtio0 >bind || exit
     done
     for n in $(seq 15); do sh -c "echo $n >/proc/self/fail-nth; exec misc-timer 1 2 3" >/dev/null 2>&1; done
     try misc-timer 5; echo 0 >/sys/kernel/debug/failslab/probability
     misc-timer 20 && modprobe virtio_misc_selftest || exit
     ${NO_LEAKS}`,
  );
  assert.equal(exitCode, 0, all);
});
