import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { MAIN, virtioMisc } from '../virtio-misc.js';

/** Command lines that are wrong, and what the first line on stderr says. */
const WRONG: readonly (readonly [args: string, says: RegExp])[] = [
  ['serve', /missing required argument 'device'/],
  ['serve nothing --vhost-user /tmp/x', /there is no device 'nothing': take one of test, misc/],
  ['serve test', /say where to serve: --vhost-user SOCKET or --vfio-user SOCKET/],
  ['serve test --vhost-user /tmp/x --max-timers 5', /--max-timers is not an option of the device 'test'/],
  ['serve misc --vhost-user /tmp/x --max-timers none', /write a whole number from 1 to 4294967295/],
  ['serve test --vhost-user /tmp/x --variant loud', /Allowed choices are echo, events/],
  ['serve test --vhost-user /tmp/x --first 3s', /--first and --every need --variant events/],
  ['serve test --vhost-user /tmp/x --variant events --first soon', /write a time such as 500ms, 3s or 1m/],
  ['serve test --vhost-user /tmp/x --vectors 2', /--vectors needs --vfio-user/],
  ['serve test --vhost-user /tmp/x --max-memory lots', /write a size such as 512M, 64G or 4T/],
  ['serve test --vhost-user /tmp/x --metrics 70000', /write a port from 0 to 65535/],
  ['serve test --vhost-user /tmp/x --inspect 70000', /write a port from 0 to 65535/],
  ['serve --vhost-user /tmp/x --inspect test', /write a port from 0 to 65535/],
  ['serve test --vhost-user /tmp/x --inspect-host 127.0.0.1', /--inspect-host needs --inspect/],
  [
    'serve test --vhost-user /tmp/x --inspect --inspect-host 192.0.2.1',
    /--inspect: 192\.0\.2\.1 is no address of this machine/,
  ],
  ['serve test --vhost-user /tmp/x --no-keeper --inspect-host 127.0.0.1', /--inspect-host needs --inspect/],
  ['serve test --vhost-user /tmp/x --spares 9', /write a number from 0 to 8/],
  ['serve test --vhost-user /tmp/x --spares 2 --no-keeper', /--spares needs a keeper: leave out --no-keeper/],
  [
    'serve test --vhost-user /tmp/x --stuck-after 5s --no-keeper',
    /--stuck-after needs a keeper: leave out --no-keeper/,
  ],
  ['inspect', /missing required argument 'file'/],
  ['inspect /no/such.pcapng', /^virtio-misc: there is no file \/no\/such\.pcapng$/m],
  ['inspect /dev/null --port x', /write a port from 0 to 65535/],
  ['inspect /dev/null', /\/dev\/null: .*no recording/],
  ['serve test --vhost-user /tmp/x --poll soon', /write a time such as 50us, or none at all/],
  [
    'serve test --vhost-user /tmp/x --features packed,inorder',
    /write some of packed, in-order, .*event-idx, indirect-desc, ring-reset, .*, with commas between, and no- before/,
  ],
  [
    'serve test --vhost-user /tmp/x --features notification-data',
    /^virtio-misc: vhost-user can't say the ring feature notificationData: leave it out, or serve over vfio-user$/m,
  ],
  ['vm --device test --exec true --features no-', /write some of packed, in-order/],
  ['vm --device test --exec true --poll 2s', /write a time such as 50us, or none at all/],
  ['serve /no/such.ts --vhost-user /tmp/x', /^virtio-misc: there is no file \/no\/such\.ts$/m],
  ['serve test --vhost-user /no/such/folder/x', /listen at \/no\/such\/folder\/x/],
  [`serve test --vhost-user /tmp/${'x'.repeat(120)}`, /socket/],
  [
    'qemu-args misc --vhost-user /tmp/x',
    /QEMU aborts on vhost-user devices with id 70: serve it with --vfio-user/,
  ],
  ['qemu-args test', /say where the device is served/],
  ['qemu-args test --vhost-user /tmp/x --machine isapc', /Allowed choices are q35, pc, microvm/],
  [
    'qemu-args test --vfio-user /tmp/x --machine microvm',
    /machine microvm has virtio-mmio alone, and there is no vfio-user over that: take vhost-user, or another/,
  ],
  [
    'vm --device test --transport vfio-user --machine microvm --exec true',
    /machine microvm has virtio-mmio alone, and there is no vfio-user over that: take vhost-user, or another/,
  ],
  [
    'vm --device misc --machine microvm --exec true',
    /aborts on vhost-user devices with id 70, and machine microvm .*: take another machine$/m,
  ],
  ['vm --device misc --transport vhost-user --exec true', /QEMU aborts on vhost-user devices with id 70/],
  ['vm --device test', /say what to run in the guest: --exec COMMAND; a shell needs a terminal/],
  ['vm --exec true', /say which device: --device test, or a file such as/],
  ['vm --set a=b --device test --exec true', /write it behind the --device that it is for/],
  ['vm --device test --exec true --timeout soon', /write a time such as 500ms, 3s or 1m/],
  ['vm --device test --exec true --timeout 5', /write a time such as 500ms, 3s or 1m/],
  ['vm --device test --exec true --metrics none', /write a port from 0 to 65535/],
  ['vm --device test --exec true --memory lots', /write a size such as 512M, 64G or 4T/],
  ['vm --device test --exec true --memory 512', /write a size such as 512M, 64G or 4T/],
  ['vm --device test --exec true --memory 1025K', /write a whole number of MiB, such as 512M/],
  ['qemu-args test --vhost-user /tmp/x --memory some', /write a size such as 512M/],
  ['serve test --vhost-user /tmp/x --record-bytes lots', /write a size such as 512M/],
  ['show', /missing required argument 'file'/],
  ['show /no/such/file --from 5', /write a time such as 500ms, 3s or 1m/],
  ['replay', /missing required argument 'file'/],
  ['replay /no/such/file', /there is no file \/no\/such\/file/],
  ['wireshark nothing', /there is no device 'nothing'/],
  ['init x --template none', /Allowed choices are struct, stream, stock/],
  ['vm --device test --exec true --vectors 2', /--vectors needs/],
  [
    'vm --device test --exec true --no-keeper --stuck-after 5s',
    /--stuck-after needs a keeper: leave out --no-keeper$/m,
  ],
  ['vm --device test --exec true --no-keeper --spares 0', /--spares needs a keeper: leave out --no-keeper$/m],
  ['vm --device test --exec true --spares x', /write a number from 0 to 8/],
  ['vm --device test --exec true --inspect-host ::1', /--inspect-host needs --inspect/],
  ['sreve test', /unknown command 'sreve'/],
];

for (const [args, says] of WRONG) {
  test(`virtio-misc ${args.length > 80 ? `${args.slice(0, 60)}...` : args}`, async () => {
    const { code, lines, stderr } = await virtioMisc(...args.split(' '));
    assert.notEqual(code, 0);
    assert.deepEqual(lines, []);
    assert.match(stderr, says);
    assert.doesNotMatch(stderr, /^ +at /m, 'no stack trace');
  });
}

for (const command of [
  '',
  'init',
  'serve',
  'vm',
  'qemu-args',
  'ctl',
  'save',
  'upgrade',
  'show',
  'replay',
  'wireshark',
  'doctor',
  'completion',
]) {
  test(`virtio-misc ${command} --help`, async () => {
    const { code, lines } = await virtioMisc(...command.split(' ').filter(Boolean), '--help');
    assert.equal(code, 0);
    assert.match(lines[0]!, new RegExp(`^Usage: virtio-misc ${command}`));
  });
}

test('qemu-args takes a device by its short name and by its own', async () => {
  const args = ['--vhost-user', '/tmp/x.sock'];
  assert.deepEqual(
    await virtioMisc('qemu-args', 'virtio-test', ...args),
    await virtioMisc('qemu-args', 'test', ...args),
  );
});

test('qemu-args --machine microvm puts the device on virtio-mmio', async () => {
  const { lines } = await virtioMisc(
    ...['qemu-args', 'test', '--machine', 'microvm', '--vhost-user', '/tmp/x.sock'],
  );
  assert.match(
    lines[0]!,
    / -machine microvm,pit=off,pic=off,memory-backend=mem -global virtio-mmio\.force-legacy=off /,
  );
  assert.match(lines[0]!, / -device vhost-user-test-device,chardev=virtio0,virtio-id=45,/);
});

/** What qemu-args prints where QEMU is a program that says this. */
async function qemuArgs(says: string, ...args: string[]): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  const qemu = join(folder, 'qemu');
  writeFileSync(qemu, `#!/bin/sh\necho '${says}'\n`, { mode: 0o755 });
  try {
    const line = execFileSync(process.execPath, [MAIN, 'qemu-args', ...args], {
      env: { ...process.env, VIRTIO_MISC_QEMU: qemu },
    });
    return line.toString().trimEnd().split('\n');
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('qemu-args has QEMU wait longer for a vfio-user device, where it can be told to', async () => {
  const patient = '  x-msg-timeout=<uint32> -  (default: 5000)';
  const args = ['misc', '--vfio-user', '/tmp/x.sock'];
  const told = `'{"driver":"vfio-user-pci","socket":{"type":"unix","path":"/tmp/x.sock"},"x-msg-timeout":60000}'`;
  assert.ok((await qemuArgs(patient, ...args))[0]!.endsWith(told));
  assert.doesNotMatch((await qemuArgs('  x-other=<uint32>', ...args))[0]!, /x-msg-timeout/);
  assert.doesNotMatch((await qemuArgs(patient, 'test', '--vhost-user', '/tmp/x'))[0]!, /x-msg-timeout/);
});

test('qemu-args prints a line that a shell can take', async () => {
  const lines = await qemuArgs('', 'misc', '--vfio-user', '/tmp/a b.sock');
  assert.equal(lines.length, 1);
  assert.match(lines[0]!, /memory-backend-memfd,id=mem,size=256M,share=on/);
  assert.match(
    lines[0]!,
    /'\{"driver":"vfio-user-pci","socket":\{"type":"unix","path":"\/tmp\/a b\.sock"\}\}'$/,
  );
});

test('a shell asks what may come next; bash takes the answer', async () => {
  const { lines } = await virtioMisc('completion', 'words', '--', 'vm', '--dev');
  assert.deepEqual(lines, ['--device']);
  const { lines: script } = await virtioMisc('completion', 'bash');
  const said = execFileSync('bash', [
    '-c',
    `virtio-misc() { "${process.execPath}" "${MAIN}" "$@"; }
    ${script.join('\n')}
    COMP_WORDS=(virtio-misc vm --device te) COMP_CWORD=3; _virtio_misc; echo "\${COMPREPLY[@]}"
    COMP_WORDS=(virtio-misc vm --device test ''); COMP_CWORD=4; _virtio_misc; echo "\${#COMPREPLY[@]}"`,
  ]);
  assert.equal(said.toString(), 'test\n0\n');
});
