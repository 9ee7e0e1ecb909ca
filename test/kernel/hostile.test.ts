import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import type { GuestAddress } from '../../src/memory/address.js';
import { GuestMemory } from '../../src/memory/guest-memory.js';
import type { MemoryView } from '../../src/memory/memory-view.js';
import {
  deviceAreaSize,
  VIRTQ_USED,
  VIRTQ_USED_ELEM,
  VIRTQ_USED_ELEM_SIZE,
} from '../../src/virtqueue/split/layout.js';
import { debugGuest, NO_LEAKS, SUSPEND } from './debug-guest.js';
import { HostileMisc, type Mood } from './hostile-misc.js';

/** A device that changes its mood with each reset: a driver that was bound again, or resumed, has another one. */
function moody(moods: readonly Mood[]): { make: () => HostileMisc; at: () => number } {
  let at = -1;
  const make = (): HostileMisc => {
    const device = new HostileMisc(() => moods[Math.min(at, moods.length - 1)] ?? 'honest');
    const activate = device.activate.bind(device);
    device.activate = (host) => {
      at++;
      activate(host);
    };
    return device;
  };
  return { make, at: () => at };
}

/** Has the device reset, and so in its next mood. */
const NEXT = `next() {
  echo virtio0 >/sys/bus/virtio/drivers/virtio_misc/unbind && echo virtio0 >/sys/bus/virtio/drivers/virtio_misc/bind
}`;

/** What programs and modules do with a device; it may fail, and must end. */
const USE = `use() {
  timeout 5 misc-timer 10 20; timeout 5 misc-timer --periodic 3 10
  modprobe vmisc_slow_test callback_ms=1 && sleep 1; rmmod vmisc_slow_test
  modprobe virtio_misc_demo; sleep 1; rmmod virtio_misc_demo
} 2>/dev/null`;

const MOODS: readonly Mood[] = [
  'refuse',
  'notify, then refuse',
  'no such status',
  'short answer',
  'stray expiry',
  'doubled expiry',
  'strange notification',
  'configuration changes',
];

test(`a device that may ${MOODS.join(', ')}: its driver stays sound, and works with an honest one`, async () => {
  const { make } = moody([...MOODS, 'honest']);
  const { exitCode, all } = await debugGuest(
    `${NEXT}
     ${USE}
     for mood in 1 2 3 4 5 6 7 8; do echo "mood $mood"; use; next || exit; done
     misc-timer 100 50 && modprobe virtio_misc_selftest || exit
     ${NO_LEAKS}`,
    { make },
  );
  assert.equal(exitCode, 0, all);
  assert.match(all, /^mood 8$/m);
});

test('a device that does not answer: a signal ends the wait, and time does', async () => {
  const { make } = moody(['silent', 'honest']);
  const { exitCode, all } = await debugGuest(
    `${NEXT}
     echo 2 >/sys/module/virtio_misc/parameters/answer_timeout
     modprobe vmisc_slow_test && exit 97
     misc-timer 10 && exit 96
     echo 600 >/sys/module/virtio_misc/parameters/answer_timeout
     misc-timer-read sigint || exit
     modprobe virtio_misc_demo & demo=$!; sleep 1; kill -TERM $demo; wait $demo
     next && rmmod virtio_misc_demo; misc-timer 20 || exit
     ${NO_LEAKS}`,
    { make },
  );
  assert.equal(exitCode, 0, all);
  assert.match(all, /vmisc_slow_test: no timer: -110/);
  assert.match(all, /misc-timer: can't set a timer of 10 ms: Connection timed out|Operation timed out/);
  assert.match(all, /^setting: -1, Interrupted system call$/m);
});

test('a timer whose callback waits while the system sleeps, refused afterwards, is no use after free', async () => {
  const { make } = moody(['honest', 'refuse', 'honest', 'refuse', 'honest']);
  const { exitCode, all } = await debugGuest(
    `${SUSPEND}
     ${NEXT}
     modprobe vmisc_slow_test callback_ms=500 interval_ms=20 && sleep 2 && suspend; sleep 3; rmmod vmisc_slow_test
     next || exit
     misc-timer-read lost >/tmp/said & reader=$!
     until grep -q set /tmp/said; do sleep 0.1; done
     suspend; wait $reader; status=$?; cat /tmp/said; [ $status = 0 ] || exit $status
     next && misc-timer 20 || exit
     ${NO_LEAKS}`,
    { make },
  );
  assert.equal(exitCode, 0, all);
  assert.match(all, /^first read: -1, No space left on device$/m);
  assert.match(all, /^second read: -1, No space left on device$/m);
});

test('a device that needs a reset gets one, and its timers again', async () => {
  const { make, at } = moody(['needs a reset', 'honest']);
  const { exitCode, all } = await debugGuest(`misc-timer 300 100 200 || exit; ${NO_LEAKS}`, { make });
  assert.equal(exitCode, 0, all);
  assert.equal(at(), 1);
  assert.match(all, /virtio_misc virtio0: device needs a reset/);
});

const view = GuestMemory.prototype.view;
afterEach(() => {
  GuestMemory.prototype.view = view;
});

/** Has `change` change one field of each entry of the used rings, in its turn. */
function corrupt(field: 'id' | 'len', change: (value: number) => number): void {
  const place = VIRTQ_USED.ring + VIRTQ_USED_ELEM[field];
  GuestMemory.prototype.view = function (
    this: GuestMemory,
    address: GuestAddress,
    length: number,
  ): MemoryView {
    const whole = view.call(this, address, length);
    if (length !== deviceAreaSize(256)) return whole;
    return new Proxy(whole, {
      get(target, name) {
        // Entries are then written by `write32`, and nowhere else.
        if (name === 'words') return undefined;
        if (name === 'write32')
          return (offset: number, value: number): void => {
            const isEntry = (offset - place) % VIRTQ_USED_ELEM_SIZE === 0;
            target.write32(offset, isEntry ? change(value) : value);
          };
        const member: unknown = Reflect.get(target, name, target);
        return typeof member === 'function' ? member.bind(target) : member;
      },
    });
  };
}

for (const [what, field, change] of [
  ['ids that no buffer has', 'id', (): number => 0x1234_5678],
  ['one id, again and again', 'id', (): number => 3],
  ['lengths of four billion', 'len', (): number => 0xffff_fff0],
] as const) {
  test(`used entries with ${what}: refused or reset, and sound`, async () => {
    const { make, at } = moody(['honest']);
    let entries = 0;
    // Each fifth: the device is good for a while, is reset, is good for a while.
    corrupt(field, (value) => (++entries % 5 === 0 ? change() : value));
    const { all } = await debugGuest(
      `${USE}
       use; use; use
       ${NEXT}
       next || exit
       ${NO_LEAKS}
       echo through`,
      { make },
    );
    assert.match(all, /^through$/m);
    assert.ok(entries >= 50, `${entries} entries were written`);
    assert.ok(at() >= (field === 'id' ? 2 : 1), `${at()} resets`);
  });
}
