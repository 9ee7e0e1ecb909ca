import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { virtioMisc } from '../virtio-misc.js';

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
});
after(() => rmSync(folder, { recursive: true, force: true }));

function write(name: string, text: string): string {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
}

const DEVICE = `import { defineDevice, le32, struct } from 'virtio-misc';
export default defineDevice({
  id: 46,
  name: 'virtio-answer',
  config: { struct: struct({ answer: le32 }), initial: { answer: 42 } },
  queues: [{ name: 'q', handle: () => {} }],
  activate: ({ print }) => print('a driver is there'),
});
`;

const DRIVER = `#include <linux/module.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
static int answer_probe(struct virtio_device *vdev)
{
	u32 answer;

	virtio_cread_bytes(vdev, 0, &answer, sizeof(answer));
	virtio_device_ready(vdev);
	dev_info(&vdev->dev, "the answer is %u\\n", le32_to_cpu((__force __le32)answer));
	return 0;
}
static void answer_remove(struct virtio_device *vdev)
{
	virtio_reset_device(vdev);
}
static const struct virtio_device_id ids[] = { { 46, VIRTIO_DEV_ANY_ID }, { 0 } };
MODULE_DEVICE_TABLE(virtio, ids);
static struct virtio_driver answer_driver = {
	.driver.name = "answer",
	.driver.owner = THIS_MODULE,
	.id_table = ids,
	.probe = answer_probe,
	.remove = answer_remove,
};
module_virtio_driver(answer_driver);
MODULE_LICENSE("GPL");
`;

const TOOL = '#include <stdio.h>\nint main(void) { puts("hello from a tool"); return 3; }\n';

test('a device, its driver and a program of one’s own meet in a guest', async () => {
  const { code, lines, stderr } = await virtioMisc(
    ...['vm', '--device', write('answer.ts', DEVICE), '--transport', 'vfio-user'],
    ...['--module', write('answer_driver.c', DRIVER), '--tool', write('hello.c', TOOL)],
    ...['--exec', 'dmesg | grep -o "the answer is.*"; hello'],
  );
  assert.equal(code, 3, stderr);
  const last = lines.filter((line) => !line.startsWith('['));
  assert.deepEqual(last, ['a driver is there', 'the answer is 42', 'hello from a tool'], lines.join('\n'));
});

for (const [option, name, text, says] of [
  [
    '--module',
    'bad_driver.c',
    DRIVER.replace('u32 answer;', 'u32 anwser;'),
    /bad_driver\.c:\d+:\d+: error: /,
  ],
  ['--tool', 'bad.c', TOOL.replace('return', 'retrun'), /bad\.c:2:\d+: error: /],
] as const) {
  test(`${option}: what the compiler says is shown, of the file that it was given`, async () => {
    const device = write('answer.ts', DEVICE);
    const file = write(name, text);
    const { code, stderr } = await virtioMisc('vm', '--device', device, option, file, '--exec', 'true');
    assert.equal(code, 1);
    assert.match(stderr, /virtio-misc: code for the guest does not compile:\n/);
    assert.match(stderr, says);
    assert.ok(stderr.includes(`${file}:`), stderr);
    assert.doesNotMatch(stderr, /make(\[\d\])?:|draft/);
  });
}

test('a file that is not there is named', async () => {
  const { code, stderr } = await virtioMisc('vm', '--device', 'test', '--module', 'none.c', '--exec', 'true');
  assert.equal(code, 1);
  assert.match(stderr, /virtio-misc: there is no file none\.c$/m);
});

test('--module takes modules of the kernel by name too, and loads what they need; --list-drivers lists them', async () => {
  const { code, lines, stderr } = await virtioMisc(
    ...[
      'vm',
      '--device',
      'test',
      '--module',
      'virtio_scsi',
      '--module',
      'virtiofs',
      '--module',
      write('answer_driver.c', DRIVER),
    ],
    ...['--exec', 'cut -d" " -f1 /proc/modules'],
  );
  assert.equal(code, 0, stderr);
  for (const name of ['virtio_scsi', 'scsi_mod', 'virtiofs', 'fuse', 'answer_driver'])
    assert.ok(lines.includes(name), lines.join(' '));
  const listed = await virtioMisc('vm', '--list-drivers');
  assert.equal(listed.code, 0, listed.stderr);
  assert.ok(listed.lines.some((line) => /^virtio_scsi +Virtio SCSI HBA driver \(virtio id 8\)$/.test(line)));
  assert.ok(listed.lines.some((line) => /^virtio_balloon .*\(virtio id 5\)$/.test(line)));
  const none = await virtioMisc('vm', '--device', 'test', '--module', 'virtio_scsy', '--exec', 'true');
  assert.equal(none.code, 1);
  assert.match(none.stderr, /has no module 'virtio_scsy': vm --list-drivers lists those that it has/);
});
