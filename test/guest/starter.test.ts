import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { writeStarter } from '../../src/cli/starter.js';
import { DeviceFile } from '../../src/device-file/device-file.js';
import { defineDevice } from '../../src/index.js';
import { KERNEL_COMPLAINT, runGuest } from './guest.js';

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
});
after(() => rmSync(folder, { recursive: true, force: true }));

const SYSFS = '/sys/bus/virtio/drivers/egg_timer/virtio0';

/** Writers from many processes, the driver taken away and brought back under them. */
const SCRIPT = `
  set -e
  cd ${SYSFS}
  cat response
  echo 2 3 >request
  cat response
  echo nonsense >request || echo refused
  for i in 1 2 3 4 5 6 7 8; do
    for j in 1 2 3 4 5 6 7 8; do echo $i $j; done >/tmp/sums.$i
    ( while read -r sum; do echo $sum >request; done </tmp/sums.$i && echo "writer $i is done" ) &
  done
  wait
  cat response
  cd /
  ( while echo 1 1 >${SYSFS}/request; do :; done ) 2>/dev/null &
  until cat ${SYSFS}/response | grep -q 'sum 2'; do :; done
  rmmod egg_timer
  wait
  modprobe egg_timer
  echo 20 30 >${SYSFS}/request
  cat ${SYSFS}/response
`;

for (const [transport, id] of [
  ['vfio-user', 60],
  ['vhost-user', 12],
] as const) {
  test(`the starter's driver adds in a guest, over ${transport}`, async () => {
    const starter = join(folder, transport);
    writeStarter(starter, { name: 'egg-timer', id });
    const make = await new DeviceFile(join(starter, 'device.ts')).load();
    assert.equal(make().id, id);
    const modules = [join(starter, 'egg-timer.c')];
    const outcome = await runGuest(make, transport, SCRIPT, { modules });
    const all = outcome.console.join('\n');
    assert.equal(outcome.exitCode, 0, all);
    const answers = outcome.console.filter((line) => /^sum/.test(line));
    assert.match(
      answers.join('\n'),
      /^sum 0, up 0 ms\nsum 5, up \d+ ms\nsum \d+, up \d+ ms\nsum 50, up \d+ ms$/,
    );
    assert.match(all, /^refused$/m);
    assert.equal(outcome.console.filter((line) => /^writer . is done$/.test(line)).length, 8, all);
    for (let a = 1; a <= 8; a++) {
      for (let b = 1; b <= 8; b++) {
        assert.ok(outcome.device.includes(`egg-timer: ${a} + ${b} = ${a + b}`), `${a} + ${b}`);
      }
    }
    assert.deepEqual(outcome.warnings, []);
    assert.deepEqual(
      outcome.console.filter((line) => KERNEL_COMPLAINT.test(line)),
      [],
    );
  });
}

test("the starter's driver bears a device that does not answer, or answers too little", async () => {
  const starter = join(folder, 'odd');
  writeStarter(starter, { name: 'egg-timer', id: 60 });
  let requests = 0;
  const odd = defineDevice({
    id: 60,
    name: 'odd',
    queues: [{ name: 'requestq', handle: () => (++requests === 1 ? undefined : new Promise(() => {})) }],
  });
  const outcome = await runGuest(
    odd,
    'vfio-user',
    `cd ${SYSFS}
     echo 2 3 >request || echo "too little: $?"
     timeout 1 sh -c 'echo 2 3 >request' || echo "no answer: $?"
     timeout 1 sh -c 'echo 2 3 >request' || echo "no room: $?"
     cat response
     cd /
     rmmod egg_timer && echo removed`,
    { modules: [join(starter, 'egg-timer.c')] },
  );
  const all = outcome.console.filter((line) => !/^Terminated$|write error/.test(line)).join('\n');
  assert.equal(outcome.exitCode, 0, all);
  assert.match(all, /^too little: 1\nno answer: 143\nno room: 143\nsum 0, up 0 ms\nremoved$/m);
  assert.equal(requests, 2);
  assert.deepEqual(
    outcome.console.filter((line) => KERNEL_COMPLAINT.test(line)),
    [],
  );
});
