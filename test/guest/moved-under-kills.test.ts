import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { blk } from '../../examples/blk.js';
import { type Server, serve } from '../../src/index.js';
import { deaths, keeperServing, servingPid } from '../keeper/keeper-process.js';
import { KERNEL_COMPLAINT } from './guest.js';
import { FILL, HELD, MOVED_PROGRAM, MovedProgram } from './moved-program.js';
import { MovingGuest, progressed } from './moving-guest.js';
import { Qmp } from './qmp.js';
import { Steps } from './steps.js';

/** `VIRTIO_MISC_MOVES=20` for the long way. */
const MOVES = Number(process.env.VIRTIO_MISC_MOVES ?? 2);
/** Of each disk's processes, in each move before the guest stops. */
const KILLS = 3;

const DISK = fileURLToPath(new URL('../../examples/blk.js', import.meta.url));

/** Whether what is in flight is carried to the other end. */
const INFLIGHT = ['off', 'on'] as const;

/** The disks of one QEMU. */
interface Disks {
  readonly control: Server;
  readonly keepers: readonly ChildProcess[];
  readonly logs: readonly string[];
}

test(`a guest moves ${MOVES} times while the processes of its disks are killed: its memory is the same, what was read is right, and QEMU notices nothing`, {
  timeout: 180_000 + 60_000 * MOVES,
}, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  const at = (...names: string[]): string => join(folder, ...names);
  const program = new MovedProgram(at('control.img'));
  const files = INFLIGHT.map((_, i) => at(`disk${i}.img`));
  const contents = INFLIGHT.map(() => Buffer.alloc(FILL + HELD));
  const all: Disks[] = [];
  const warnings: string[] = [];
  let guest: MovingGuest | undefined;
  const logged = (): string =>
    all.flatMap(({ logs }) => logs.map((log) => readFileSync(log, 'utf8'))).join('');
  const steps = new Steps(t.signal, () => `${program.last}. ${guest?.state} ${logged()}`, MOVES > 2);
  const { signal } = steps;

  const renew = (): void => {
    for (const [i, file] of files.entries()) writeFileSync(file, randomFillSync(contents[i]!));
  };
  /** The disks, for the Nth QEMU. */
  const serveAll = async (n: number): Promise<void> => {
    mkdirSync(at(`${n}`));
    const logs = files.map((_, i) => at(`${n}`, `log${i}`));
    all[n] = {
      logs,
      control: await serve(blk({ file: at('control.img') }), {
        vhostUser: at(`${n}`, 'control.sock'),
        warn: (line) => warnings.push(line),
      }),
      keepers: await Promise.all(
        files.map((file, i) =>
          keeperServing(at(`${n}`, `${i}.sock`), logs[i]!, [DISK, '--quiet', '--no-watch'], { DISK: file }),
        ),
      ),
    };
  };
  const leave = ({ control, keepers }: Disks): void => {
    control.close();
    for (const keeper of keepers) keeper.kill('SIGKILL');
  };
  const disk = (n: number, name: string, inflight: string): string[] => [
    ...['-chardev', `socket,id=disk-${name},path=${at(`${n}`, `${name}.sock`)}`],
    ...['-device', `vhost-user-blk-pci,chardev=disk-${name},queue-size=1024,inflight-migration=${inflight}`],
  ];
  /** Kills processes of these disks now and then, until it has been enough. */
  const kill = async ({ keepers, logs }: Disks, enough: AbortSignal): Promise<void> => {
    for (let i = 0; !enough.aborted; i++) {
      await delay(400 * Math.random(), undefined, { signal });
      const which = i % keepers.length;
      const pid = servingPid(keepers[which]!.pid!, 'memory-backend-memfd');
      if (!enough.aborted && pid !== undefined && !deaths(logs[which]!).includes(pid))
        process.kill(pid, 'SIGKILL');
    }
  };

  try {
    steps.begin('the guest boots');
    renew();
    await serveAll(0);
    guest = await MovingGuest.boot({
      devices: (n) => [
        ...Qmp.args(at(`${n}`, 'qmp')),
        ...disk(n, 'control', 'on'),
        ...INFLIGHT.flatMap((inflight, i) => disk(n, `${i}`, inflight)),
      ],
      exec: 'exec moved /dev/vda /dev/vdb /dev/vdc',
      tools: [MOVED_PROGRAM],
      signal,
    });
    await guest.line(/^moved ready$/);
    await program.order(guest, 'fill');
    let died = 0;
    for (let move = 0; move < MOVES; move++) {
      const step = (what: string): void => steps.begin(`move ${move + 1} of ${MOVES}: ${what}`);
      step('the next QEMU starts, and memory is copied once');
      renew();
      await serveAll(move + 1);
      const disks = all[move]!;
      const enough = new AbortController();
      let killing: Promise<void> = Promise.resolve();
      const arrival = await guest.leave(at(`${move + 1}`, 'migration'), async (from) => {
        killing = kill(disks, enough.signal);
        killing.catch(() => {});
        step('the disks are read, and their processes killed');
        await program.order(guest!, 'fill');
        await program.order(guest!, 'take');
        while (disks.logs.some((log) => deaths(log).length < KILLS)) await delay(20, undefined, { signal });
        await progressed(from, (await progressed(from, 0, signal)) + 1, signal);
      });
      step('the guest stops');
      await arrival.completed();
      enough.abort();
      await killing;
      died += disks.logs.reduce((sum, log) => sum + deaths(log).length, 0);
      assert.deepEqual(arrival.differences(), []);
      step('the guest goes on');
      await arrival.go();
      leave(disks);
      await program.check(guest, contents);
    }
    t.diagnostic(`${died} processes died`);
    assert.deepEqual(
      guest.lines.filter((line) => KERNEL_COMPLAINT.test(line) || /I\/O error|is not a head/.test(line)),
      [],
    );
    assert.equal(guest.said, '');
    assert.deepEqual(warnings, []);
    assert.doesNotMatch(logged(), /dropped|broken|refused/);
  } finally {
    steps.end();
    await guest?.close();
    for (const disks of all) leave(disks);
    program.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
