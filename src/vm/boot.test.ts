import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { bootGuest } from './boot.js';
import type { BootOptions } from './boot-options.js';
import { type GuestImage, prepareGuest } from './image.js';
import { progressTo } from './progress.js';
import { findQemu, type Qemu } from './qemu.js';
import type { VmError } from './vm-error.js';

let qemu: Qemu;
let image: GuestImage;
before(async () => {
  const progress = progressTo(process.stderr, { plain: true });
  [qemu, image] = await Promise.all([findQemu({ progress }), prepareGuest({ progress })]);
});

/** A guest that keeps what it printed, and does not outlive a minute. */
function boot(exec: BootOptions['exec'], options: Partial<BootOptions> = {}) {
  const lines: string[] = [];
  const guest = bootGuest({
    qemu,
    image,
    exec,
    onConsole: (line) => lines.push(line),
    timeout: 60_000,
    ...options,
  });
  return { ...guest, lines };
}

async function failure(promise: Promise<unknown>): Promise<VmError> {
  const error = await promise.then(
    () => assert.fail('the guest did not fail'),
    (reason: VmError) => reason,
  );
  assert.equal(error.name, 'VmError', String(error));
  return error;
}

/** Pids of processes with `token` in their command line. */
async function processesWith(token: string): Promise<string[]> {
  const found: string[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (line.includes(token)) found.push(pid);
  }
  return found;
}

test('a command prints what it prints, and nothing else, and its exit code is the result', async () => {
  const { finished, lines } = boot('echo hello; echo "two  words" >&2; exit 3');
  assert.deepEqual(await finished, { exitCode: 3 });
  assert.deepEqual(lines, ['hello', 'two  words']);
});

test('the last line of a command need not be ended', async () => {
  const { finished, lines } = boot(['printf "one\\ntwo"', 'printf three']);
  assert.deepEqual(await finished, { exitCode: 0 });
  assert.deepEqual(lines, ['one', 'two', 'three']);
});

test('the guest is what it says: kernel, memory, processors, no input, several lines of script', async () => {
  const script =
    'uname -r\nnproc\ncat\n[ $(sed -n "s/MemTotal: *\\([0-9]*\\) kB/\\1/p" /proc/meminfo) -gt 400000 ] && echo big\nfalse';
  const { finished, lines } = boot(script, { cpus: 2, memory: 512, machine: 'pc' });
  assert.deepEqual(await finished, { exitCode: 1 });
  assert.deepEqual(lines, [image.release, '2', 'big']);
});

test('the kernel’s messages come between the command’s lines, with their times; earlier ones only when asked for', async () => {
  const exec = 'echo before; echo "<6>in between" > /dev/kmsg; echo after';
  const { finished, lines } = boot(exec);
  assert.deepEqual(await finished, { exitCode: 0 });
  assert.equal(lines.length, 3, lines.join('\n'));
  assert.equal(lines[0], 'before');
  assert.match(lines[1]!, /^\[ *\d+\.\d{6}\] in between$/);
  assert.equal(lines[2], 'after');
  const verbose = boot(exec, { verbose: true });
  await verbose.finished;
  assert.ok(verbose.lines.some((line) => line.includes('Linux version 6.1')));
});

test('files are put into the guest, with their modes', async () => {
  const files = [
    { path: '/data/in/a.txt', content: 'text' },
    { path: '/bin/say', content: Buffer.from('#!/bin/sh\necho said "$@"\n'), mode: 0o755 },
    { path: '/data/hosts', content: { source: '/etc/hostname' } },
  ];
  const { finished, lines } = boot('cat /data/in/a.txt; echo; say 1 2; cat /data/hosts', { files });
  assert.deepEqual(await finished, { exitCode: 0 });
  assert.deepEqual(lines, ['text', 'said 1 2', (await readFile('/etc/hostname', 'utf8')).trim()]);
  await assert.rejects(boot('true', { files: [{ path: 'relative', content: '' }] }).finished, RangeError);
  const missing = await failure(
    boot('true', { files: [{ path: '/a', content: { source: '/no/such' } }] }).finished,
  );
  assert.match(missing.message, /no such file for the guest.*\/no\/such/);
});

test('each command of a list runs in a boot of its own, whoever reboots the guest', async () => {
  const boots = [
    'touch /here; echo first',
    'ls /here; echo second; reboot -f',
    'reboot',
    'echo fourth; exit 4',
  ];
  const { finished, lines } = boot(boots);
  assert.deepEqual(await finished, { exitCode: 4 });
  const said = lines.filter((line) => !/^\[ *\d/.test(line));
  assert.deepEqual(said, ['first', 'ls: /here: No such file or directory', 'second', 'fourth']);
});

test('orphans that end all the time neither fill the guest nor make it mishear what it is told', async () => {
  const orphans = '(while :; do (true &); done) & echo';
  const { finished, lines } = boot([`${orphans} first`, `${orphans} second`, `${orphans} third; exit 3`]);
  assert.deepEqual(await finished, { exitCode: 3 });
  assert.deepEqual(
    lines.filter((line) => !/^\[ *\d/.test(line)),
    ['first', 'second', 'third'],
  );
});

test('a microvm reboots too, with any number of processors and a file of any length', async () => {
  const file = { path: '/root/file', content: 'x'.repeat(4097) };
  const boots = [
    'wc -c file; grep -c ^processor /proc/cpuinfo; ls /sys/bus/pci/devices',
    'echo second; exit 2',
  ];
  const { finished, lines } = boot(boots, { machine: 'microvm', cpus: 2, files: [file] });
  assert.deepEqual(await finished, { exitCode: 2 });
  assert.deepEqual(
    lines.filter((line) => !/^\[ *\d/.test(line)),
    ['4097 file', '2', 'second'],
  );
});

test('the first command of a list that fails is the last', async () => {
  const { finished, lines } = boot(['echo one; exit 200', 'echo two']);
  assert.deepEqual(await finished, { exitCode: 200 });
  assert.deepEqual(lines, ['one']);
});

test('a panic is told with its cause and the last lines, in any boot', async () => {
  for (const exec of [
    'echo c > /proc/sysrq-trigger',
    ['true', 'echo c > /proc/sysrq-trigger', 'echo never'],
  ]) {
    const { finished, lines } = boot(exec);
    const error = await failure(finished);
    assert.equal(error.code, 'PANIC');
    assert.match(error.message, /^the guest panicked \(sysrq triggered crash\); its last lines:\n {2}\| /);
    assert.ok(error.message.includes(lines.at(-1)!));
    assert.ok(!lines.includes('never'));
  }
});

test('a guest that goes down or reboots before its command ended is an error', async () => {
  assert.equal((await failure(boot('poweroff -f').finished)).code, 'GONE');
  assert.equal((await failure(boot('reboot -f').finished)).code, 'GONE');
  const twice = await failure(boot(['true', 'reboot -f']).finished);
  assert.equal(twice.code, 'GONE');
  assert.match(twice.message, /rebooted while it ran the last command/);
});

test('a boot, a command, a silence that last too long end the guest with its last lines', async () => {
  const slow = await failure(boot('true', { bootTimeout: 50 }).finished);
  assert.deepEqual(
    [slow.code, slow.message],
    ['HANG', "the guest's boot took longer than 0.05 s, and printed nothing"],
  );
  const long = await failure(boot('echo working; sleep 1000', { timeout: 1500 }).finished);
  assert.equal(long.code, 'HANG');
  assert.match(long.message, /^the guest's command took longer than 1.5 s; its last lines:\n {2}\| working$/);
  // Shorter than the time between two signs of life.
  const silent = await failure(boot('echo waiting; sleep 1000', { silence: 1500 }).finished);
  assert.equal(silent.code, 'HANG');
  assert.match(silent.message, /hangs: no sign of life for 1.5 s; its last lines:\n {2}\| waiting$/);
});

test('a guest that works for long without printing does not hang', async () => {
  const { finished } = boot('sleep 9', { silence: 8000 });
  assert.deepEqual(await finished, { exitCode: 0 });
});

test('QEMU’s own words are told when it refuses its arguments or is missing', async () => {
  const refused = await failure(boot('true', { devices: ['-device', 'no-such-device'] }).finished);
  assert.equal(refused.code, 'QEMU');
  assert.match(refused.message, /no-such-device/);
  const none = await failure(boot('true', { qemu: { ...qemu, command: ['/no/such/qemu'] } }).finished);
  assert.match(none.message, /QEMU does not start: .*\/no\/such\/qemu/);
});

test('a module that is not there is named', async () => {
  const error = await failure(boot('echo never', { load: ['no_such_module'] }).finished);
  assert.equal(error.code, 'BUILD');
  assert.match(error.message, /can't load no_such_module/);
});

test('drivers of the devices that are there are loaded, others are not', async () => {
  const { finished, lines } = boot("lsmod | cut -d' ' -f1; head -c 8 /dev/hwrng | wc -c", {
    devices: ['-device', 'virtio-rng-pci'],
  });
  assert.deepEqual(await finished, { exitCode: 0 });
  assert.ok(lines.includes('virtio_rng'), lines.join());
  assert.ok(!lines.includes('virtio_blk'));
  assert.equal(lines.at(-1), '8');
});

test('an abort ends QEMU at any time, and nothing is left of it', async (t) => {
  const token = randomUUID();
  // A folder of its own: other guests may come and go meanwhile.
  const folder = await mkdtemp(path.join(tmpdir(), 'virtio-misc-test-'));
  const { TMPDIR } = process.env;
  process.env.TMPDIR = folder;
  t.after(async () => {
    if (TMPDIR === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = TMPDIR;
    await rm(folder, { recursive: true });
  });
  const stopper = new AbortController();
  const { finished } = boot('sleep 1000', {
    devices: ['-name', token],
    signal: stopper.signal,
    onReady: () => stopper.abort(),
  });
  assert.equal((await failure(finished)).code, 'ABORTED');
  assert.deepEqual(await processesWith(token), []);
  const early = boot('true', { signal: AbortSignal.abort() });
  assert.equal((await failure(early.finished)).code, 'ABORTED');
  assert.deepEqual(await readdir(folder), []);
});

test('QEMU goes when this process is killed', { timeout: 60_000 }, async (t) => {
  const token = randomUUID();
  const script = `
    import { bootGuest } from ${JSON.stringify(new URL('./boot.js', import.meta.url).href)};
    bootGuest({ ...${JSON.stringify({ qemu, image, exec: 'sleep 1000', devices: ['-name', token] })},
      onConsole() {}, onReady: () => console.log('ready') });`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  const qemus = (await processesWith(token)).filter((pid) => pid !== String(child.pid));
  assert.equal(qemus.length, 1);
  t.after(async () => {
    for (const pid of await processesWith(token)) process.kill(Number(pid), 'SIGKILL');
  });
  child.kill('SIGKILL');
  await once(child, 'close');
  while ((await processesWith(token)).length > 0) await sleep(20);
});
