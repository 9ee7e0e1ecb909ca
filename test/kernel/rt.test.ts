import assert from 'node:assert/strict';
import { test } from 'node:test';
import { debugGuest, NO_LEAKS } from './debug-guest.js';

// Where a spinlock sleeps, and an interrupt is a thread: lockdep says what may not be called from where.

test("PREEMPT_RT: the modules' own tests, each context, a stress, the driver bound anew: no splat", async () => {
  const { exitCode, all, console } = await debugGuest(
    `uname -v
     modprobe virtio_misc_selftest && rmmod virtio_misc_selftest && modprobe virtio_misc_demo &&
     modprobe vmisc_contexts_test && rmmod vmisc_contexts_test &&
     misc-timer-stress --grace-ms 300000 --processes 4 --timers 2000 --max-ms 2000 --cancel-third &&
     echo virtio0 >/sys/bus/virtio/drivers/virtio_misc/unbind &&
     echo virtio0 >/sys/bus/virtio/drivers/virtio_misc/bind && misc-timer 20 || exit
     ${NO_LEAKS}
     grep 'debug_locks: *1' /proc/lockdep_stats`,
    { kernel: 'debug-rt' },
  );
  assert.equal(exitCode, 0, all);
  assert.match(all, /PREEMPT_RT/);
  assert.equal(console.filter((line) => /virtio_misc_selftest: ok \d+ - /.test(line)).length, 9, all);
  assert.equal(console.filter((line) => /vmisc_contexts_test: ok: /.test(line)).length, 10, all);
  assert.match(all, /^2000 timers: .*; 0 early, 0 lost, 0 twice, 0 after cancel, 0 out of order, 0 failed/m);
});
