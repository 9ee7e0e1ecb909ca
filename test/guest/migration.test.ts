import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  closeSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { blk } from '../../examples/blk.js';
import { serve } from '../../src/index.js';
import { bootGuest } from '../../src/vm/boot.js';
import { prepareGuest } from '../../src/vm/image.js';
import { progressTo } from '../../src/vm/progress.js';
import { findQemu } from '../../src/vm/qemu.js';
import { Qmp } from './qmp.js';

const MIB = 1024 * 1024;
const ROUND = /^round (\d+)$/;

const DISK = 8 * MIB;

/** Writes and reads a disk, and looks whether it has what was written, for ever. */
const SCRIPT = `
  cd /tmp
  n=0
  while :; do
    n=$((n + 1))
    for part in 0 1 2; do
      {
        head -c 300000 /dev/urandom >w$part
        dd if=w$part of=/dev/vda bs=4k seek=$((part * 512)) conv=notrunc oflag=direct 2>/dev/null
        dd if=/dev/vda of=r$part bs=4k skip=$((part * 512)) count=74 iflag=direct 2>/dev/null
        head -c 300000 r$part | cmp - w$part || echo wrong in round $n
      } &
    done
    wait
    echo round $n
  done
`;

/** The lines of a console, and a way to wait for some. */
class Console {
  readonly lines: string[] = [];
  #changed = (): void => {};

  readonly add = (line: string): void => {
    this.lines.push(line.trim());
    this.#changed();
  };

  get round(): number {
    return Math.max(0, ...this.lines.map((line) => Number(ROUND.exec(line)?.[1] ?? 0)));
  }

  /** Waits until the guest has come so far. */
  async reached(round: number, signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.#changed(), { once: true });
    while (this.round < round) {
      signal.throwIfAborted();
      await new Promise<void>((resolve) => {
        this.#changed = resolve;
      });
    }
  }
}

/** The memory of a QEMU's guest, as a file of this size. */
function memoryOf(pid: number, size: number): number {
  for (const name of readdirSync(`/proc/${pid}/fd`)) {
    const file = `/proc/${pid}/fd/${name}`;
    if (!readlinkSync(file).startsWith('/memfd:')) continue;
    const fd = openSync(file, 'r');
    if (fstatSync(fd).size === size) return fd;
    closeSync(fd);
  }
  throw new Error(`process ${pid} has no memory of ${size} bytes`);
}

/** The pages of 4096 bytes in which two files differ. */
function differences(a: number, b: number, size: number): string[] {
  const [left, right] = [Buffer.alloc(MIB), Buffer.alloc(MIB)];
  const pages: string[] = [];
  for (let at = 0; at < size; at += MIB) {
    readSync(a, left, 0, MIB, at);
    readSync(b, right, 0, MIB, at);
    if (left.equals(right)) continue;
    for (let page = 0; page < MIB; page += 4096) {
      if (left.compare(right, page, page + 4096, page, page + 4096) !== 0) {
        pages.push(`0x${(at + page).toString(16)}`);
      }
    }
  }
  return pages;
}

test('a guest moves from one stock QEMU to another while it writes and reads a disk of ours: its memory is the same, and it goes on', {
  timeout: 240_000,
}, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  const at = (name: string): string => join(folder, name);
  const file = at('disk.img');
  writeFileSync(file, randomBytes(DISK));
  const warnings: string[] = [];
  const progress = progressTo(process.stderr, { plain: true });
  const [qemu, image] = await Promise.all([findQemu({ progress }), prepareGuest({ progress })]);
  const servers = await Promise.all(
    ['source', 'target'].map((name) =>
      serve(blk({ file }), {
        vhostUser: at(`${name}.sock`),
        warn: (line) => warnings.push(`${name}: ${line}`),
      }),
    ),
  );
  const stop = new AbortController();
  const signal = AbortSignal.any([stop.signal, t.signal]);
  const [here, there] = [new Console(), new Console()];
  let pid = 0;
  let target: ChildProcess | undefined;
  const monitors: Qmp[] = [];
  const source = bootGuest({
    qemu,
    image,
    exec: SCRIPT,
    signal,
    silence: 240_000,
    devices: [
      ...['-chardev', `socket,id=blk,path=${at('source.sock')}`],
      ...['-device', 'vhost-user-blk-pci,chardev=blk'],
      ...['-qmp', `unix:${at('source.qmp')},server=on,wait=off`],
    ],
    onConsole: here.add,
    onSpawn: (spawned) => {
      pid = spawned;
    },
  });
  const ended = source.finished.catch((error: Error) => error);
  try {
    await Promise.race([here.reached(2, signal), ended.then((end) => assert.fail(`${end}`))]);
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
    const command = words.map((word) =>
      word.replace('source.', 'target.').replace('socket,id=control,fd=3', 'null,id=control'),
    );
    const [program, ...args] = command;
    let said = '';
    target = spawn(program!, [...args, '-S', '-incoming', `unix:${at('migration')}`], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    target.stderr!.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    createInterface({ input: target.stdout! }).on('line', there.add);
    const to = await Qmp.connect(at('target.qmp'), signal);
    monitors.push(to);
    const from = await Qmp.connect(at('source.qmp'), signal);
    monitors.push(from);

    // Too slow to end while the guest writes, so that pages are copied again and again; then quickly.
    await from.ask('migrate-set-parameters', { 'max-bandwidth': 4 * MIB, 'downtime-limit': 1 });
    await from.ask('migrate', { uri: `unix:${at('migration')}` });
    await here.reached(here.round + 3, signal);
    await from.ask('migrate-set-parameters', { 'max-bandwidth': 1024 * MIB, 'downtime-limit': 2000 });
    for (let status = ''; status !== 'completed'; ) {
      const all = (await from.ask('query-migrate')) as { status?: string; 'error-desc'?: string };
      status = all.status ?? '';
      assert.notEqual(status, 'failed', all['error-desc']);
      await delay(100, undefined, { signal });
    }
    const memory = 256 * MIB;
    const [left, right] = [memoryOf(pid, memory), memoryOf(target.pid!, memory)];
    try {
      assert.deepEqual(differences(left, right, memory), []);
    } finally {
      closeSync(left);
      closeSync(right);
    }
    const moved = here.round;
    await to.ask('cont');
    await there.reached(moved + 3, signal);
    assert.equal(here.round, moved);
    for (const { lines } of [here, there]) {
      assert.deepEqual(
        lines.filter((line) => /wrong in round|I\/O error|Call Trace/.test(line)),
        [],
      );
    }
    assert.deepEqual(warnings, []);
    assert.equal(said, '');
  } finally {
    stop.abort();
    for (const monitor of monitors) monitor.close();
    if (target !== undefined && target.exitCode === null) {
      target.kill('SIGKILL');
      await once(target, 'exit');
    }
    await ended;
    for (const server of servers) server.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
