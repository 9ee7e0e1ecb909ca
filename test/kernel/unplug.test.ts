import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { deviceArgs } from '../../src/cli/qemu-args.js';
import { virtioMisc } from '../../src/devices/misc/device.js';
import { serve } from '../../src/serve.js';
import { boot } from '../guest/guest.js';
import { Qmp } from '../guest/qmp.js';
import { start } from '../virtio-misc.js';
import { BOOT_LOG, CHECKED, complaints, NO_LEAKS } from './debug-guest.js';

const ARM = `arm() {
  misc-timer-stress --arm 500 --delay-ms 600000 >/tmp/armed & armed=$!
  modprobe vmisc_slow_test || exit
  until grep -q armed /tmp/armed; do sleep 0.1; done
}`;

/** Boots a guest whose device is unplugged and plugged in when it says `unplug now` and `plug now`. */
async function pluggedGuest(script: string, modules: readonly string[] = []): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-unplug-'));
  const socket = join(folder, 'device.sock');
  const monitor = join(folder, 'qmp.sock');
  // With MSI-X, QEMU (11.1) aborts on an assertion of its own when it frees what was unplugged.
  const server = await serve(virtioMisc(), { vfioUser: socket, vectors: 0, print: false });
  const plug = {
    driver: 'vfio-user-pci',
    id: 'timers',
    bus: 'slot1',
    socket: { type: 'unix', path: socket },
  };
  const over = new AbortController();
  let qmp: Qmp | undefined;
  let failure: unknown;
  const monitored = async (line: string): Promise<void> => {
    if (!line.startsWith('unplug now') && line !== 'plug now') return;
    qmp ??= await Qmp.connect(monitor, over.signal);
    if (line.startsWith('unplug')) {
      const deleted = qmp.event('DEVICE_DELETED', over.signal);
      await qmp.ask('device_del', { id: 'timers' });
      await deleted;
    }
    if (line !== 'unplug now only') await qmp.ask('device_add', plug);
  };
  try {
    const { exitCode, console } = await boot(
      [
        ...['-device', 'pcie-root-port,id=slot1,chassis=1,slot=1', '-device', JSON.stringify(plug)],
        ...Qmp.args(monitor),
      ],
      `${BOOT_LOG}${script}
       ${NO_LEAKS}`,
      {
        ...CHECKED,
        modules: [...CHECKED.modules!, ...modules],
        onConsole: (line) => {
          CHECKED.onConsole(line);
          monitored(line).catch((error: unknown) => {
            failure ??= error;
          });
        },
      },
    );
    const all = console.join('\n');
    assert.equal(failure, undefined);
    assert.deepEqual(complaints(console), [], all);
    assert.equal(exitCode, 0, all);
    return all;
  } finally {
    over.abort();
    qmp?.close();
    server.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

test('QEMU unplugs the device and plugs it in again, with files open, timers set and callbacks running', async () => {
  const all = await pluggedGuest(
    `${ARM}
     for i in 1 2 3; do
       arm; echo "unplug now"
       wait $armed; cat /tmp/armed
       rmmod vmisc_slow_test || exit
       until [ -e /dev/virtio-timer0 ]; do sleep 0.1; done
       misc-timer 20 || exit
     done`,
  );
  assert.equal([...all.matchAll(/^0 of 500 timers expired, then: No such device$/gm)].length, 3, all);
});

const MOVED = fileURLToPath(new URL('../../../test/guest/vmisc_moved.c', import.meta.url));

test('timers with callbacks outlive their device: those of the next one are called once each, and without one they can be cancelled', async () => {
  const all = await pluggedGuest(
    `at=/sys/module/vmisc_moved/parameters
     gone() { while [ -e /dev/virtio-timer0 ]; do sleep 0.1; done; }
     back() { until [ -e /dev/virtio-timer0 ]; do sleep 0.1; done; }
     modprobe vmisc_moved || exit
     for i in 1 2 3; do echo "unplug now"; gone; back; done
     enough=$(($(cat $at/due) + 20)); [ $enough -lt 900 ] || enough=900; until [ $(cat $at/called) -ge $enough ]; do sleep 0.2; done
     echo 1 >$at/more || exit
     misc-timer 500 && rmmod vmisc_moved || exit
     bus=/sys/bus/virtio/drivers/virtio_misc
     modprobe vmisc_moved && sleep 1; name=$(cd $bus && echo virtio*)
     echo $name >$bus/unbind; sleep 1; echo $name >$bus/bind
     until [ $(cat $at/called) -ge 40 ]; do sleep 0.2; done
     echo "unplug now only"; gone; sleep 1
     echo 1 >$at/more && exit 1
     rmmod vmisc_moved || exit
     modprobe vmisc_moved && exit 1
     echo "plug now"; back
     misc-timer 20 || exit
     modprobe vmisc_moved && sleep 1
     name=$(cd $bus && echo virtio*); echo $name >$bus/unbind
     rmmod vmisc_moved && rmmod virtio_misc && modprobe virtio_misc && misc-timer 20 || exit`,
    [MOVED],
  );
  const ends = [...all.matchAll(/] (set 900, lost .*)$/gm)].map(([, end]) => end);
  assert.deepEqual(ends, Array(3).fill('set 900, lost 0, twice 0, early 0, out of order 0, failed 0'), all);
});

/** Leaves out the lines in which Linux says that the driver did not reset the device: it can't, as this one is gone. */
function withoutReset(console: readonly string[]): string[] {
  const from = console.findIndex((line) => line.includes('cut here'));
  const to = console.findIndex((line) => line.includes('end trace'));
  const lines = console.slice(from, to + 1);
  if (!lines.some((line) => /WARNING: .* virtio_dev_remove\+/.test(line))) return [...console];
  return [...console.slice(0, from), ...console.slice(to + 1)];
}

test('the process of the device is killed: waits end, files are told, and the driver can go', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-killed-'));
  const socket = join(folder, 'device.sock');
  const child = start(['serve', 'misc', '--vfio-user', socket, '--quiet']);
  const over = once(child, 'close');
  try {
    await once(child.stderr!, 'data');
    const { exitCode, console } = await boot(
      deviceArgs(virtioMisc()(), 'vfio-user', socket, 'timers'),
      `${BOOT_LOG}${ARM}
       pci=$(dirname $(readlink -f /sys/bus/virtio/devices/virtio0))
       echo 3 >/sys/module/virtio_misc/parameters/answer_timeout
       arm; echo "kill it now"
       while misc-timer 10; do sleep 0.1; done
       wait $armed; cat /tmp/armed
       rmmod vmisc_slow_test && echo virtio0 >/sys/bus/virtio/drivers/virtio_misc/unbind && rmmod virtio_misc &&
         echo 1 >$pci/remove || exit
       ${NO_LEAKS}`,
      {
        ...CHECKED,
        onConsole: (line) => {
          CHECKED.onConsole(line);
          if (line === 'kill it now') child.kill('SIGKILL');
        },
      },
    );
    const all = console.join('\n');
    assert.deepEqual(complaints(withoutReset(console)), [], all);
    assert.equal(exitCode, 0, all);
    assert.match(all, /misc-timer: can't set a timer of 10 ms: (Connection|Operation) timed out/);
    assert.match(all, /virtio_misc virtio0: device is gone/);
    assert.match(all, /^0 of 500 timers expired, then: No such device$/m);
  } finally {
    child.kill('SIGKILL');
    await over;
    rmSync(folder, { recursive: true, force: true });
  }
});
