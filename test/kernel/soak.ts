import assert from 'node:assert/strict';
import { test } from 'node:test';
import { debugGuest, NO_LEAKS, SUSPEND } from './debug-guest.js';

// Not one of the tests that run always: `npm run test:kernel -- --soak` does.

const MINUTES = Number(process.env.VIRTIO_MISC_SOAK ?? 60);

/** What `misc-timer-stress` says of its timers. */
const STRESS =
  /^(\d+) timers: (\d+) expired, (\d+) cancelled; 0 early, 0 lost, 0 twice, 0 after cancel, 0 out of order, 0 failed; latest by ([\d.]+) ms/;

test(`${MINUTES} min of timers, modules that come and go, suspends, resets`, {
  timeout: (MINUTES + 30) * 60_000,
}, async () => {
  const { exitCode, all, console } = await debugGuest(
    `${SUSPEND}
     end=$(($(cut -d. -f1 /proc/uptime) + ${MINUTES} * 60)); round=0
     while [ $(cut -d. -f1 /proc/uptime) -lt $end ]; do
       misc-timer-stress --grace-ms 300000 --processes 4 --timers 4000 --max-ms 3000 --cancel-third || exit
       misc-timer-stress --any-order --grace-ms 300000 --processes 2 --timers 1000 --min-ms 500 --max-ms 6000 >/tmp/slept & stress=$!
       modprobe vmisc_slow_test && suspend && rmmod vmisc_slow_test || exit
       wait $stress; status=$?; sed 's/; latest/; slept; latest/' /tmp/slept; [ $status = 0 ] || exit $status
       modprobe vmisc_contexts_test && rmmod vmisc_contexts_test || exit
       modprobe virtio_misc_demo && sleep 1 && rmmod virtio_misc_demo && misc-timer-read fault || exit
       modprobe vmisc_slow_test && echo virtio0 >/sys/bus/virtio/drivers/virtio_misc/unbind && rmmod vmisc_slow_test || exit
       rmmod virtio_misc && modprobe virtio_misc || exit
       round=$((round + 1)); echo "round $round"
     done
     ${NO_LEAKS}
     echo through`,
    { cpus: 2, timeout: (MINUTES + 25) * 60_000 },
  );
  assert.equal(exitCode, 0, all);
  assert.match(all, /^through$/m);
  const sum = { runs: 0, set: 0, expired: 0, cancelled: 0, latest: 0 };
  for (const line of console.filter((line) => / timers: \d+ expired/.test(line))) {
    const found = STRESS.exec(line.replace('; slept', ''));
    assert.ok(found, line);
    sum.runs++;
    sum.set += Number(found[1]);
    sum.expired += Number(found[2]);
    sum.cancelled += Number(found[3]);
    // Those that slept with the system are late by design.
    if (!line.includes('slept')) sum.latest = Math.max(sum.latest, Number(found[4]));
  }
  const calls = console.map((line) => Number(/left after (\d+) calls/.exec(line)?.[1] ?? 0));
  const contexts = console.filter((line) => line.includes('vmisc_contexts_test: ok: ')).length;
  process.stdout.write(
    `soak: ${MINUTES} min, ${console.filter((line) => /^round \d+$/.test(line)).length} rounds; of programs' timers ${sum.set} set, ` +
      `${sum.expired} expired, ${sum.cancelled} cancelled, in ${sum.runs} runs, latest by ${sum.latest} ms; ` +
      `${calls.reduce((a, b) => a + b, 0)} slow callbacks, ${contexts * 20} timers set from ten contexts; ` +
      `0 early, lost, twice, after cancel, out of order; 0 splats, kmemleak empty\n`,
  );
});
