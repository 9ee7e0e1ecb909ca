import assert from 'node:assert/strict';
import { test } from 'node:test';
import { debugGuest, NO_LEAKS, SUSPEND } from './debug-guest.js';

// Not one of the tests that run always: `npm run test:kernel -- --soak` does.

const MINUTES = Number(process.env.VIRTIO_MISC_SOAK ?? 60);

test(`${MINUTES} min of timers, modules that come and go, suspends, resets`, {
  timeout: (MINUTES + 30) * 60_000,
}, async () => {
  const { exitCode, all, console, device } = await debugGuest(
    `${SUSPEND}
     end=$(($(cut -d. -f1 /proc/uptime) + ${MINUTES} * 60)); round=0
     while [ $(cut -d. -f1 /proc/uptime) -lt $end ]; do
       misc-timer-stress --processes 4 --timers 4000 --max-ms 3000 --cancel-third || exit
       modprobe vmisc_slow_test && suspend && rmmod vmisc_slow_test || exit
       modprobe vmisc_contexts_test && rmmod vmisc_contexts_test || exit
       modprobe virtio_misc_demo && sleep 1 && rmmod virtio_misc_demo || exit
       rmmod virtio_misc && modprobe virtio_misc || exit
       round=$((round + 1))
     done
     echo "$round rounds"
     ${NO_LEAKS}`,
    { timeout: (MINUTES + 25) * 60_000 },
  );
  assert.equal(exitCode, 0, all);
  const rounds = console.filter((line) => / timers: .* expired/.test(line));
  for (const line of rounds)
    assert.match(line, /; 0 early, 0 lost, 0 twice, 0 after cancel, 0 out of order, 0 failed/);
  const figures = `${rounds.length} rounds, ${device.filter((line) => line.includes('expired')).length} expiries`;
  process.stdout.write(`soak: ${figures}, 0 early, lost or twice, 0 splats, kmemleak empty\n`);
});
