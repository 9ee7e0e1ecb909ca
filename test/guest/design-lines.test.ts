import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { virtioTest } from '../../src/devices/test/device.js';
import { defineDevice } from '../../src/virtio/define-device.js';
import { withoutTime } from '../virtio-misc.js';
import { runGuest } from './guest.js';

// What the driver and the user program of virtio-test's design print, letter for letter.

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** All that the kernel says while the driver is loaded, probes, and is removed. */
const PROBE_AND_REMOVE = `
  rmmod virtio_test
  dmesg -c >/dev/null
  modprobe virtio_test
  ls -d /sys/bus/virtio/drivers/virtio_test/virtio0
  sed -n 's/.* virtio0-/queue /p' /proc/interrupts
  rmmod virtio_test
  dmesg`;

for (const [variant, queue, lines] of [
  ['echo', 'virtio_test', ['>>>>>> virttest_probe function is called <<<<<<', 'misc register has succeeded']],
  ['events', 'print', ['******create virttest']],
] as const) {
  test(`variant ${variant}: probe and removal print the design's lines, and the queue has its name`, async () => {
    const make = virtioTest({ variant });
    const { exitCode, console } = await runGuest(make, 'vfio-user', PROBE_AND_REMOVE);
    const all = withoutTime(console);
    assert.equal(exitCode, 0, all.join('\n'));
    // The console has what dmesg tells once more, as it comes.
    assert.deepEqual(all.slice(-lines.length), lines, all.join('\n'));
    assert.deepEqual(all.slice(0, -lines.length), [
      ...lines,
      '/sys/bus/virtio/drivers/virtio_test/virtio0',
      'queue config',
      `queue ${queue}`,
    ]);
  });
}

test('a registration that fails says so in the words of the design, and the driver is not bound', async () => {
  const taken = join(folder, 'taken.c');
  writeFileSync(
    taken,
    `#include <linux/fs.h>
     #include <linux/miscdevice.h>
     #include <linux/module.h>
     static const struct file_operations fops = { .owner = THIS_MODULE };
     static struct miscdevice taken = { .minor = MISC_DYNAMIC_MINOR, .name = "virtio_misc", .fops = &fops };
     module_misc_device(taken);
     MODULE_DESCRIPTION("Takes the name of virtio_test's character device");
     MODULE_LICENSE("GPL");
    `,
  );
  const { exitCode, console } = await runGuest(
    virtioTest(),
    'vfio-user',
    `rmmod virtio_test; modprobe taken; modprobe virtio_test
     [ ! -e /sys/bus/virtio/drivers/virtio_test/virtio0 ] && echo not bound
     rmmod taken
     echo virtio0 >/sys/bus/virtio/drivers/virtio_test/bind && ./virtio 10`,
    { modules: [taken] },
  );
  const all = withoutTime(console);
  assert.equal(exitCode, 0, all.join('\n'));
  assert.ok(all.includes('misc register is failed'), all.join('\n'));
  assert.ok(all.includes('not bound'), all.join('\n'));
  assert.ok(all.includes('virtio response ret is 111'), all.join('\n'));
});

/** Runs a command, and prints its exit code and what it printed: byte by byte, since a console changes line ends. */
const program = (command: string): string =>
  `${command} >/tmp/out 2>/tmp/err; echo "ran $? $(base64 -w0 /tmp/out). $(base64 -w0 /tmp/err)."`;

const USAGE = 'ERROR:please enter two parameters!\neg: ./virtio number\nbut the number between 0 and 255!\n';

test("the user program's texts, streams and exit codes are the design's; the standard error has the reason", async () => {
  let requests = 0;
  const short = defineDevice({
    id: 45,
    name: 'virtio-test',
    features: { CAN_PRINT: 0 },
    queues: [
      {
        name: 'print',
        handle: (chain) => {
          chain.write(new Uint8Array(++requests === 1 ? 12 : 4));
        },
      },
    ],
  });
  const wrong = ['256', '-1', '10x', "''", '0x10', '99999999999999999999'];
  const { console } = await runGuest(
    short,
    'vfio-user',
    [
      program('./virtio 10'),
      program('./virtio 11'),
      'rmmod virtio_test',
      program('./virtio 10'),
      program('./virtio'),
      program('./virtio 10 11'),
      ...wrong.map((number) => program(`./virtio ${number}`)),
    ].join('\n'),
  );
  const ran = console
    .map((line) => /^ran (\d+) (.*)\. (.*)\.$/.exec(line))
    .filter((match) => match !== null)
    .map(([, code, out, err]) => [
      Number(code),
      ...[out!, err!].map((text) => Buffer.from(text, 'base64').toString()),
    ]);
  assert.deepEqual(ran, [
    [0, '', ''],
    [255, 'ERROR:write failed!\r\n', "virtio: can't write to /dev/virtio_misc: Input/output error\n"],
    [
      255,
      'ERROR:virtio_misc open failed!\n',
      "virtio: can't open /dev/virtio_misc: No such file or directory\n",
    ],
    [255, USAGE, ''],
    [255, USAGE, ''],
    ...wrong.map((number) => [
      255,
      USAGE,
      `virtio: '${number.replaceAll("'", '')}' is not a number from 0 to 255\n`,
    ]),
  ]);
});
