import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { deviceArgs } from '../../src/cli/qemu-args.js';
import { virtioTest } from '../../src/devices/test/device.js';
import { findTool } from '../../src/vm/qemu.js';
import '../accel.js';
import { MAIN, virtioMisc } from '../virtio-misc.js';
import { boot } from './guest.js';
import { Qmp } from './qmp.js';

/** A disk that is nowhere but in its process: what is not saved of it is lost. */
const RAM_DISK = `
  import { bytes, defineDevice, le32, le64, struct } from 'virtio-misc';
  const Header = struct({ type: le32, reserved: le32, sector: le64 });
  let disk = new Uint8Array(1 << 20);
  export default defineDevice({
    id: 2,
    name: 'ram-disk',
    config: { struct: struct({ capacity: le64, rest: bytes(52) }), initial: { capacity: disk.length / 512 } },
    queues: [{
      name: 'requestq',
      handle(chain) {
        const header = new Uint8Array(Header.size);
        chain.read(header);
        const { type, sector } = Header.decode(header);
        if (type === 0) chain.write(disk.subarray(512 * sector, 512 * sector + chain.writable - 1));
        if (type === 1) chain.read(disk.subarray(512 * sector));
        chain.write(Uint8Array.of(type < 2 ? 0 : 2));
      },
    }],
    reset: () => void disk.fill(0),
    save: () => ({ disk }),
    restore: (state) => { disk = state.disk; },
  });
`;

/** Writes something else each time, and reads it again with all that was written before. */
const EXEC = `touch /tmp/all
  while [ $((n = n + 1)) -le 200 ]; do
    head -c 4096 /dev/urandom > /tmp/one
    cat /tmp/one >> /tmp/all
    dd if=/tmp/one of=/dev/vda bs=4096 seek=$((n - 1)) 2>/dev/null
    sync
    echo 3 > /proc/sys/vm/drop_caches
    head -c $((4096 * n)) /dev/vda | cmp - /tmp/all && echo "round $n is right"
    usleep 100000
  done`;

const children = new Set<ChildProcess>();

async function serving(device: string, socket: string, ...more: string[]): Promise<ChildProcess> {
  const args = [
    MAIN,
    'serve',
    device,
    '--vhost-user',
    socket,
    '--no-watch',
    '--no-type-check',
    '--log',
    'json',
  ];
  const child = spawn(process.execPath, [...args, ...more], { stdio: ['ignore', 'ignore', 'pipe'] });
  children.add(child);
  let said = '';
  for await (const text of child.stderr!.setEncoding('utf8')) {
    said += text;
    if (said.includes('"serving ')) break;
  }
  assert.match(said, /"serving /);
  return child;
}

async function killed(child: ChildProcess): Promise<void> {
  children.delete(child);
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}

test("QEMU's stop, savevm and loadvm with a disk whose state is saved and restored: the guest goes on where it was", {
  timeout: 300_000,
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  const at = (name: string): string => join(folder, name);
  const stop = new AbortController();
  const lines: string[] = [];
  let said = '';
  const onSaid = (text: string): void => {
    said += text;
  };
  /** Of all that the guest printed, the last round. */
  const rounds = (): number => lines.filter((line) => / is right$/.test(line)).length;
  const reached = async (round: number): Promise<void> => {
    while (rounds() < round) await sleep(20, undefined, { signal: stop.signal });
  };
  try {
    writeFileSync(at('ram-disk.mjs'), RAM_DISK);
    const [img, ...args] = (await findTool('qemu-img')) as [string, ...string[]];
    execFileSync(img, [...args, 'create', '-q', '-f', 'qcow2', at('snapshots'), '1M']);
    const first = await serving(at('ram-disk.mjs'), at('one.sock'));
    const devices = [
      ...Qmp.args(at('one.qmp')),
      ...['-drive', `if=none,id=snapshots,file=${at('snapshots')}`],
      ...['-chardev', `socket,id=disk,path=${at('one.sock')}`],
      ...['-device', 'vhost-user-blk-pci,chardev=disk,num-queues=1'],
    ];
    let pid = 0;
    const left = new AbortController();
    const guest = boot(devices, EXEC, {
      signal: AbortSignal.any([stop.signal, left.signal]),
      onSpawn: (number) => {
        pid = number;
      },
      onConsole: (line) => lines.push(line),
      onSaid: (text) => {
        if (!left.signal.aborted) onSaid(text);
      },
    });
    const ended = guest.catch((error: Error) => {
      if (!left.signal.aborted) stop.abort(error);
    });
    await reached(3);
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
    const qmp = await Qmp.connect(at('one.qmp'), stop.signal);
    const runs = await virtioMisc('save', at('one.sock'), at('state'));
    assert.match(runs.stderr, /the guest runs: stop it first \(QEMU: 'stop'\), and save it then/);
    await qmp.ask('stop');
    const { code, stderr } = await virtioMisc('save', at('one.sock'), at('state'));
    assert.deepEqual([code, stderr], [0, '']);
    assert.equal(await qmp.ask('human-monitor-command', { 'command-line': 'savevm here' }), '');
    // The snapshot is of this moment, whatever comes after it.
    await qmp.ask('cont');
    await reached(rounds() + 2);
    qmp.close();
    left.abort();
    await ended;
    await killed(first);
    lines.length = 0;

    await serving(at('ram-disk.mjs'), at('two.sock'), '--restore', at('state'));
    const again = command.map((word) =>
      word
        .replace('socket,id=control,fd=3', 'null,id=control')
        .replace(at('one.sock'), at('two.sock'))
        .replace(at('one.qmp'), at('two.qmp')),
    );
    const qemu = spawn(again[0]!, [...again.slice(1), '-loadvm', 'here'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    children.add(qemu);
    qemu.stderr!.setEncoding('utf8').on('data', onSaid);
    let text = '';
    qemu.stdout!.setEncoding('utf8').on('data', (more: string) => {
      text += more;
      const whole = text.split('\n');
      text = whole.pop()!;
      lines.push(...whole.map((line) => line.trim()));
    });
    const other = await Qmp.connect(at('two.qmp'), stop.signal);
    // It was saved while it stood still, and is loaded so.
    await other.ask('cont');
    await reached(3);
    other.close();
    assert.doesNotMatch(lines.join('\n'), /differ|EOF on/);
    assert.equal(said, '');
  } finally {
    stop.abort();
    for (const child of children) await killed(child);
    rmSync(folder, { recursive: true, force: true });
  }
});

test('QEMU refuses to save a guest with its generic vhost-user device, and says which', {
  timeout: 300_000,
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  const stop = new AbortController();
  try {
    const socket = join(folder, 'device.sock');
    await serving('test', socket, '--quiet');
    const [qmpPath, disk] = [join(folder, 'qmp'), join(folder, 'snapshots')];
    const [img, ...args] = (await findTool('qemu-img')) as [string, ...string[]];
    execFileSync(img, [...args, 'create', '-q', '-f', 'qcow2', disk, '1M']);
    const ended = boot(
      [
        ...deviceArgs(virtioTest()(), 'vhost-user', socket, 'virtio0'),
        ...Qmp.args(qmpPath),
        ...['-drive', `if=none,id=snapshots,file=${disk}`],
      ],
      'sleep 1000',
      { signal: stop.signal },
    ).catch(() => {});
    const qmp = await Qmp.connect(qmpPath, AbortSignal.timeout(200_000));
    const said = await qmp.ask('human-monitor-command', { 'command-line': 'savevm here' });
    assert.match(String(said), /State blocked by non-migratable device '.*vhost-user-test-device'/);
    qmp.close();
    stop.abort();
    await ended;
  } finally {
    stop.abort();
    for (const child of children) await killed(child);
    rmSync(folder, { recursive: true, force: true });
  }
});
