import assert from 'node:assert/strict';
import { randomFillSync } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { blk } from '../../examples/blk.js';
import { type Server, serve } from '../../src/index.js';
import { KERNEL_COMPLAINT } from './guest.js';
import { FILL, HELD, HELD_PIECES, MOVED_PROGRAM, MovedProgram } from './moved-program.js';
import { type Arrival, MovingGuest, progressed } from './moving-guest.js';
import { Qmp } from './qmp.js';
import { Steps } from './steps.js';

/** `VIRTIO_MISC_MOVES=20` for the long way. */
const MOVES = Number(process.env.VIRTIO_MISC_MOVES ?? 2);

const MIB = 1024 * 1024;

/** A ring of 1024 has pages of its own for what the device writes. The control disk is the first. */
const DISKS: readonly { readonly packed: boolean; readonly inflight: boolean }[] = [
  { packed: false, inflight: false },
  { packed: false, inflight: true },
  { packed: true, inflight: false },
  { packed: true, inflight: true },
];

type Read = FileHandle['read'];

/** Reads of the disks' second parts, which are answered when they are told to. */
class Held {
  readonly #waiting: { readonly disk: number; go(): void }[] = [];
  #holding = false;

  /** Each FileHandle reads through this from now on. */
  async install(mock: { method: typeof test.mock.method }, disks: readonly string[]): Promise<void> {
    const some = await open(disks[0]!);
    const prototype = Object.getPrototypeOf(some) as FileHandle;
    await some.close();
    const read = prototype.read as (...args: unknown[]) => Promise<unknown>;
    const held = this;
    const inodes = new Map<number, number>();
    for (const [i, disk] of disks.entries()) inodes.set(await inode(disk), i);
    const numbers = new WeakMap<FileHandle, number | undefined>();
    mock.method(prototype, 'read', async function (this: FileHandle, ...args: unknown[]) {
      if (held.#holding && (args[3] as number) >= FILL) {
        if (!numbers.has(this)) numbers.set(this, inodes.get((await this.stat()).ino));
        const disk = numbers.get(this);
        if (disk !== undefined) await held.#wait(disk);
      }
      return read.apply(this, args);
    } as unknown as Read);
  }

  hold(): void {
    this.#holding = true;
  }

  get count(): number {
    return this.#waiting.length;
  }

  /** @param which - of those of each disk, in the order in which they came. */
  release(which: (disk: number, nth: number) => boolean): void {
    const counts = new Map<number, number>();
    for (const waiting of this.#waiting.splice(0)) {
      const nth = counts.get(waiting.disk) ?? 0;
      counts.set(waiting.disk, nth + 1);
      if (which(waiting.disk, nth)) waiting.go();
      else this.#waiting.push(waiting);
    }
  }

  /** Nothing is held any more, except what is. */
  stop(): void {
    this.#holding = false;
  }

  #wait(disk: number): Promise<void> {
    return new Promise((go) => this.#waiting.push({ disk, go }));
  }
}

async function inode(path: string): Promise<number> {
  const file = await open(path);
  const { ino } = await file.stat();
  await file.close();
  return ino;
}

test(`a guest moves between stock QEMUs while disks of ours are read and written, ${MOVES} times: its memory is the same, split and packed, with what is in flight carried and drained`, {
  timeout: 180_000 + 60_000 * MOVES,
}, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  const at = (...names: string[]): string => join(folder, ...names);
  const control = at('control.img');
  const program = new MovedProgram(control);
  const files = DISKS.map((_, i) => at(`disk${i}.img`));
  const contents = DISKS.map(() => Buffer.alloc(FILL + HELD));
  const warnings: string[] = [];
  const servers: Server[][] = [];
  const held = new Held();
  let guest: MovingGuest | undefined;
  const steps = new Steps(
    t.signal,
    () => `${held.count} reads are held; ${program.last}. ${guest?.state} ${warnings.slice(-3).join(' | ')}`,
    MOVES > 2,
  );
  const { signal } = steps;

  const renew = (): void => {
    for (const [i, file] of files.entries()) {
      randomFillSync(contents[i]!);
      writeFileSync(file, contents[i]!);
    }
  };
  /** The disks, for the Nth QEMU. */
  const serveAll = async (n: number): Promise<void> => {
    mkdirSync(at(`${n}`));
    servers[n] = await Promise.all(
      [control, ...files].map((file, i) =>
        serve(blk({ file }), {
          vhostUser: at(`${n}`, `${i}.sock`),
          features: { packed: true },
          warn: (line) => warnings.push(`${n}/${i}: ${line}`),
        }),
      ),
    );
  };
  const devices = (n: number): string[] => [
    ...Qmp.args(at(`${n}`, 'qmp')),
    ...[{ packed: false, inflight: true }, ...DISKS].flatMap(({ packed, inflight }, i) => [
      ...['-chardev', `socket,id=disk${i},path=${at(`${n}`, `${i}.sock`)}`],
      '-device',
      `vhost-user-blk-pci,chardev=disk${i},queue-size=1024,packed=${packed ? 'on' : 'off'},inflight-migration=${inflight ? 'on' : 'off'}`,
    ]),
  ];
  const order = (verb: string): Promise<string> => program.order(guest!, verb);
  const check = (): Promise<number> => program.check(guest!, contents);
  /** QEMU's main loop waits for the disks that drain. */
  const drained = async (from: Qmp): Promise<void> => {
    for (;;) {
      const answer = from.ask('query-status').then(() => true);
      if (!(await Promise.race([answer, delay(500, false, { signal })]))) return;
      await delay(20, undefined, { signal });
    }
  };

  try {
    steps.begin('the guest boots');
    renew();
    await held.install(t.mock, files);
    await serveAll(0);
    guest = await MovingGuest.boot({
      devices,
      exec: `for queue in /sys/block/vd*/queue; do echo 2 >$queue/nomerges; done
        exec moved /dev/vda /dev/vdb /dev/vdc /dev/vdd /dev/vde`,
      tools: [MOVED_PROGRAM],
      signal,
    });
    await guest.line(/^moved ready$/);
    await order('fill');
    await order('take');
    await check();
    const figures: { downtime: number; total: number; sent: number; passes: number }[] = [];
    for (let move = 0; move < MOVES; move++) {
      const busy = move % 2 === 0;
      const step = (what: string): void => steps.begin(`move ${move + 1} of ${MOVES}: ${what}`);
      step('the next QEMU starts, and memory is copied once');
      renew();
      await serveAll(move + 1);
      const arrival: Arrival = await guest.leave(at(`${move + 1}`, 'migration'), async (from) => {
        step('the disks are read meanwhile');
        // Into pages that were copied, all of which nobody but the device writes to.
        await order('fill');
        if (!busy) return void (await order('take'));
        held.hold();
        await order('take');
        step('reads are held');
        while (held.count < DISKS.length * HELD_PIECES) await delay(20, undefined, { signal });
        // What the guest wrote to its rings is copied; what the device now does there is heard of by the log alone.
        await progressed(from, (await progressed(from, 0, signal)) + 2, signal);
        step('half of what is held is let go');
        held.release((_, nth) => nth % 2 === 0);
        await progressed(from, (await progressed(from, 0, signal)) + 2, signal);
      });
      step('the guest stops');
      if (busy) {
        await drained(arrival.from);
        held.stop();
        held.release((disk) => !DISKS[disk]!.inflight);
      }
      const { downtime, ram, 'total-time': total } = await arrival.completed();
      // Here nobody hears of these any more; at the other end they are carried out again.
      held.release(() => true);
      assert.deepEqual(arrival.differences(), []);
      step('the guest goes on');
      await arrival.go();
      for (const server of servers[move]!) server.close();
      await check();
      if (!busy) {
        figures.push({
          downtime: downtime!,
          total: total!,
          sent: ram!.transferred,
          passes: ram!['dirty-sync-count'],
        });
      }
    }
    const rounds = await check();
    assert.ok(rounds > 0);
    const most = figures.map(({ downtime }) => downtime).sort((a, b) => a - b);
    t.diagnostic(
      `${MOVES} moves; of those with nothing held: downtime ${most.join(' ')} ms, ` +
        `${(figures.reduce((sum, { sent }) => sum + sent, 0) / MIB / figures.length).toFixed(0)} MiB each in ` +
        `${(figures.reduce((sum, { total }) => sum + total, 0) / 1000 / figures.length).toFixed(1)} s; ` +
        `${rounds} rounds of blocks written and read`,
    );
    assert.deepEqual(
      guest.lines.filter((line) => KERNEL_COMPLAINT.test(line) || /I\/O error|is not a head/.test(line)),
      [],
    );
    // A disk that does not answer is waited for, for some seconds, whoever carries what is in flight.
    const late =
      /^\d+\/([24]: virtio-blk: queue 0 .* has requests in flight after 5 s|\d: virtio-blk: the handler of requestq1 has not settled)/;
    assert.deepEqual(
      warnings.filter((line) => !late.test(line)),
      [],
    );
    assert.equal(guest.said, '');
  } finally {
    steps.end();
    await guest?.close();
    for (const server of servers.flat()) server.close();
    program.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
