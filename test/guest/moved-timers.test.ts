import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Server, serve, virtioMisc } from '../../src/index.js';
import { KERNEL_COMPLAINT } from './guest.js';
import { MovingGuest } from './moving-guest.js';
import { Qmp } from './qmp.js';
import { Steps } from './steps.js';

const MODULE = fileURLToPath(new URL('../../../test/guest/vmisc_moved.c', import.meta.url));

/** More than one: the module keeps the device that it began with, whichever is there. */
const MOVES = 2;
/** The long way says how far it is. */
const LOUD = process.env.VIRTIO_MISC_MOVES !== undefined;

/** Tells how it stands, until the device went and came so often, and some more timers were called. */
const SCRIPT = `
  at=/sys/module/vmisc_moved/parameters
  until [ -e /dev/virtio-timer0 ]; do sleep 0.1; done
  modprobe vmisc_moved || exit
  tell() { echo "called $(cat $at/called) of $(cat $at/due) again $(cat $at/again) periods $(cat $at/periods)"; sleep 0.2; }
  for move in $(seq ${MOVES}); do
    while [ -e /dev/virtio-timer0 ]; do tell; done; echo gone $move
    until [ -e /dev/virtio-timer0 ]; do tell; done; echo back $move
  done
  enough=$(($(cat $at/due) + 20)); [ $enough -lt 900 ] || enough=900
  while [ $(cat $at/called) -lt $enough ]; do tell; done
  echo 1 >$at/more || echo no more
  misc-timer 200
  rmmod vmisc_moved
  echo over
  while :; do sleep 1; done
`;

test(`timers of a guest's module go on after the guest was moved ${MOVES} times, its device unplugged before and plugged in after: each is called once, none early`, {
  timeout: 240_000,
}, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  const at = (...names: string[]): string => join(folder, ...names);
  const warnings: string[] = [];
  const servers: Server[] = [];
  let guest: MovingGuest | undefined;
  const steps = new Steps(t.signal, () => `${guest?.state}`, LOUD);
  const { signal } = steps;
  const serveAt = async (n: number): Promise<void> => {
    mkdirSync(at(`${n}`));
    // With MSI-X, QEMU (11.1) aborts when it frees what was unplugged.
    servers.push(
      await serve(virtioMisc(), {
        vfioUser: at(`${n}`, 'sock'),
        vectors: 0,
        print: false,
        warn: (line) => warnings.push(line),
      }),
    );
  };
  const plug = (qmp: Qmp, n: number): Promise<unknown> =>
    qmp.ask('device_add', {
      driver: 'vfio-user-pci',
      id: 'timers',
      bus: 'slot1',
      socket: { type: 'unix', path: at(`${n}`, 'sock') },
    });
  const unplug = async (qmp: Qmp): Promise<void> => {
    const gone = qmp.event('DEVICE_DELETED', signal);
    await qmp.ask('device_del', { id: 'timers' });
    await gone;
  };
  try {
    steps.begin('the guest boots');
    await serveAt(0);
    guest = await MovingGuest.boot({
      devices: (n) => [
        ...Qmp.args(at(`${n}`, 'qmp')),
        ...['-device', 'pcie-root-port,id=slot1,chassis=1,slot=1'],
      ],
      exec: SCRIPT,
      modules: [MODULE],
      load: ['virtio_misc'],
      signal,
    });
    await guest.ready();
    await plug(guest.monitor, 0);
    const missed: number[] = [];
    await guest.line(/^called [1-9]/);
    for (let move = 0; move < MOVES; move++) {
      const step = (what: string): void => steps.begin(`move ${move + 1} of ${MOVES}: ${what}`);
      step('the device is unplugged');
      await unplug(guest.monitor);
      const unplugged = guest.lines.length;
      await guest.line(new RegExp(`^gone ${move + 1}$`));
      await serveAt(move + 1);
      step('the guest is moved');
      await guest.move(at(`${move + 1}`, 'migration'));
      step('timers are due meanwhile');
      for (let due = 0, from = Math.max(unplugged, guest.lines.length); due < 3; from++) {
        const [, called, of] = await guest.line(/^called (\d+) of (\d+)/, from);
        due = Number(of) - Number(called);
        if (due >= 3) missed.push(due);
      }
      step('the device is plugged in');
      await plug(guest.monitor, move + 1);
      servers[move]!.close();
      await guest.line(new RegExp(`^back ${move + 1}$`));
    }
    steps.begin('all timers are called');
    await guest.line(/^over$/);
    const all = guest.lines.join('\n');
    assert.match(all, /] set 900, lost 0, twice 0, early 0, out of order 0, failed 0$/m, all);
    assert.doesNotMatch(all, /^no more$/m);
    const stood = [...all.matchAll(/^called \d+ of \d+ again (\d+) periods (\d+)$/gm)];
    const back = all.indexOf(`back ${MOVES}\n`);
    for (const column of [1, 2]) {
      const before = stood.filter(({ index }) => index < back).at(-1)![column];
      assert.ok(Number(stood.at(-1)![column]) > Number(before), all);
    }
    t.diagnostic(`due while there was no device: ${missed.join(', ')}`);
    assert.deepEqual(
      guest.lines.filter((line) => KERNEL_COMPLAINT.test(line)),
      [],
    );
    assert.deepEqual(warnings, []);
    assert.equal(guest.said, '');
  } finally {
    steps.end();
    await guest?.close();
    for (const server of servers) server.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
