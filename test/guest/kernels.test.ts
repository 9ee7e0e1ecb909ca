import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEFAULT_KERNEL, STOCK_KERNELS } from '../../src/vm/stock-kernel.js';
import { virtioMisc, withoutTime } from '../virtio-misc.js';
import { KERNEL_COMPLAINT } from './guest.js';

// Both devices in one guest, on each kernel but the one that all other tests have.

const COMMAND = `virtio 10 && echo Y >/sys/module/virtio_test/parameters/quiet &&
  virtio-stress 16 2000 && misc-timer 300 100 200 && modprobe virtio_misc_selftest &&
  misc-timer-stress --timers 2000 --max-ms 1000 --cancel-third && uname -r`;

/** `vm --kernel` knows the standard ones, too; they are the same sources, and three times as large. */
const KERNELS = Object.keys(STOCK_KERNELS).filter(
  (name) => name !== DEFAULT_KERNEL && !name.endsWith('-standard'),
);

for (const kernel of KERNELS) {
  test(`Linux ${kernel}: the transcript, timers, the modules' own tests, stress`, async () => {
    const { code, lines, stderr } = await virtioMisc(
      ...['vm', '--kernel', kernel, '--device', 'test', '--device', 'misc', '--exec', COMMAND],
    );
    const ours = withoutTime(lines);
    const all = `${stderr}\n${lines.join('\n')}`;
    assert.equal(code, 0, all);
    for (const line of [
      'QEMU_BACK_END: >>> get type [ 10 ] form the front end <<<',
      'virtio response arg2 is 113',
    ])
      assert.ok(ours.includes(line), all);
    assert.match(all, /^2000 answered, 0 wrong, 0 failed/m);
    const order = ours.map((line) => /^timer \d \((\d+) ms\) expired after/.exec(line)?.[1]);
    assert.deepEqual(
      order.filter((delay) => delay !== undefined),
      ['100', '200', '300'],
    );
    assert.match(
      all,
      /^2000 timers: .*; 0 early, 0 lost, 0 twice, 0 after cancel, 0 out of order, 0 failed/m,
    );
    assert.equal(ours.filter((line) => /virtio_misc_selftest: ok \d+ - /.test(line)).length, 9, all);
    assert.deepEqual(
      ours.filter((line) => KERNEL_COMPLAINT.test(line)),
      [],
    );
    // The kernel may say of a busy machine what it likes, at any time.
    if (kernel !== 'newest')
      assert.ok(
        ours.some((line) => line.startsWith(`${kernel}.`)),
        all,
      );
  });
}

test('a kernel that is not there is named, with those that are', async () => {
  const { code, stderr } = await virtioMisc('vm', '--kernel', '5.0', '--device', 'test', '--exec', 'true');
  assert.equal(code, 1);
  assert.match(
    stderr,
    /there is no kernel '5\.0': name a file, or one of 6\.1, 6\.1-standard, 6\.12, .*debug/,
  );
});
