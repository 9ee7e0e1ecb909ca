import assert from 'node:assert/strict';
import { test } from 'node:test';
import { virtioMisc, withoutTime } from '../virtio-misc.js';

// The transcripts of the design that virtio-test comes from, letter for letter.

const ECHO = [
  'QEMU_BACK_END: >>> get type [ 10 ] form the front end <<<',
  'QEMU_BACK_END: >>> get arg1 [ 11 ] form the front end <<<',
  'QEMU_BACK_END: >>> get arg2 [ 12 ] form the front end <<<',
  'QEMU_BACK_END: >>> get arg3 [ 13 ] form the front end <<<',
  'QEMU_BACK_END: >>> get arg3 [ hello back end! ] form the front end <<<',
  'virtio test_request_done get ack',
  'virtio response ret is 111',
  'virtio response arg1 is 112',
  'virtio response arg2 is 113',
];

const cycle = (n: number): string[] => [
  `==============set config:${n}`,
  'virttest virttest_changed',
  'virttest get config change',
  `=========get virtio num:${n + 1}`,
  'virttest get ack',
];

/** Waits for them in the guest, however slow it is. */
const FOUR_CYCLES = 'until [ $(dmesg | grep -c "virttest get ack") -ge 4 ]; do sleep 0.1; done';

/** The lines that the transcripts are made of; other drivers of the guest may have something to say too. */
const OURS = /^(QEMU_BACK_END|virtio |virttest|=====)/;

for (const [bus, where] of [
  ['vhost-user', ['--transport', 'vhost-user']],
  ['vfio-user', ['--transport', 'vfio-user']],
  ['virtio-mmio', ['--machine', 'microvm']],
  ['vhost-user from this process', ['--no-keeper']],
] as const) {
  test(`./virtio 10 over ${bus} prints the first transcript`, async () => {
    const { code, lines, stderr } = await virtioMisc(
      ...['vm', '--device', 'test', ...where, '--exec', './virtio 10'],
    );
    assert.equal(code, 0, stderr);
    assert.deepEqual(
      withoutTime(lines).filter((line) => OURS.test(line)),
      ECHO,
    );
  });

  test(`the events variant over ${bus} prints the second transcript`, async () => {
    const { code, lines, stderr } = await virtioMisc(
      ...['vm', '--device', 'test', ...where, '--variant', 'events'],
      ...['--first', '500ms', '--every', '300ms', '--exec', FOUR_CYCLES],
    );
    assert.equal(code, 0, stderr);
    const ours = withoutTime(lines).filter((line) => OURS.test(line));
    const cycles = Math.floor(ours.length / 5);
    assert.ok(cycles >= 4, lines.join('\n'));
    assert.deepEqual(ours.slice(0, 5 * cycles), Array.from({ length: cycles }, (_, n) => cycle(n)).flat());
  });
}

test("the program's exit code is the command's", async () => {
  const { code, lines } = await virtioMisc('vm', '--device', 'virtio-test', '--exec', 'virtio 256; exit 7');
  assert.equal(code, 7);
  assert.deepEqual(
    withoutTime(lines).filter((line) => line.startsWith('virtio:')),
    ["virtio: '256' is not a number from 0 to 255"],
  );
});
