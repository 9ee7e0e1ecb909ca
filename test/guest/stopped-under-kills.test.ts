import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { blk } from '../../examples/blk.js';
import { type Server, serve } from '../../src/index.js';
import { dieAt, diedAt, dieInEach } from '../keeper/die-at.js';
import { keeperServing, servingPid } from '../keeper/keeper-process.js';
import { KERNEL_COMPLAINT } from './guest.js';
import { FILL, FILL_PIECE, HELD, HELD_PIECES, MOVED_PROGRAM, MovedProgram } from './moved-program.js';
import { MovingGuest } from './moving-guest.js';
import { Qmp } from './qmp.js';
import { Steps } from './steps.js';

/** `VIRTIO_MISC_KILLS=100` for the long way. */
const STOPS = Math.ceil(Number(process.env.VIRTIO_MISC_KILLS ?? 20) / 20);

const DISK = fileURLToPath(new URL('../../examples/blk.js', import.meta.url));

/** What QEMU knows of the disk's ring. */
async function status(qmp: Qmp): Promise<{ readonly 'last-avail-idx': number }> {
  const devices = (await qmp.ask('x-query-virtio')) as { path: string }[];
  const path = devices.map((device) => device.path).sort()[1];
  return (await qmp.ask('x-query-virtio-queue-status', { path, queue: 0 })) as { 'last-avail-idx': number };
}

test(`a guest is stopped and goes on ${STOPS} times, and the process of its disk dies in each message of it: nothing is lost, and QEMU notices nothing`, {
  timeout: 240_000 + 120_000 * STOPS,
}, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  const at = (...names: string[]): string => join(folder, ...names);
  mkdirSync(at('0'));
  const program = new MovedProgram(at('control.img'));
  const content = randomFillSync(Buffer.alloc(FILL + HELD));
  writeFileSync(at('disk.img'), content);
  const [log, dies] = [at('log'), at('die-at')];
  let keeper: ChildProcess | undefined;
  let control: Server | undefined;
  let guest: MovingGuest | undefined;
  const steps = new Steps(
    t.signal,
    () => `${program.last}. ${guest?.state} ${readFileSync(log, 'utf8')}`,
    false,
  );
  const { signal } = steps;
  try {
    steps.begin('the guest boots');
    const env = { ...dieAt(dies), DISK: at('disk.img') };
    keeper = await keeperServing(at('disk.sock'), log, [DISK, '--quiet', '--no-watch'], env);
    control = await serve(blk({ file: at('control.img') }), { vhostUser: at('control.sock') });
    guest = await MovingGuest.boot({
      devices: (n) => [
        ...Qmp.args(at(`${n}`, 'qmp')),
        ...['control', 'disk'].flatMap((name) => [
          ...['-chardev', `socket,id=disk-${name},path=${at(`${name}.sock`)}`],
          ...['-device', `vhost-user-blk-pci,chardev=disk-${name},queue-size=256`],
        ]),
      ],
      exec: 'exec moved /dev/vda /dev/vdb',
      tools: [MOVED_PROGRAM],
      signal,
    });
    await guest.line(/^moved ready$/);
    await guest.ready();
    for (let stops = 0; stops < STOPS; stops++) {
      steps.begin(`stop ${stops + 1}`);
      await program.order(guest, 'fill');
      // The next process and those after it die before they say what came of their second message. What they say first is that they serve.
      dieInEach(dies, 1);
      process.kill(servingPid(keeper.pid!, 'memory-backend-memfd')!, 'SIGKILL');
      await program.order(guest, 'take');
      const before = diedAt(dies);
      await guest.monitor.ask('stop');
      assert.ok(diedAt(dies) > before, 'none died while the guest was stopped');
      // Where it goes on, here or in another QEMU: what was asked for is all answered.
      const requests = (stops + 1) * (FILL / FILL_PIECE + HELD_PIECES);
      const ring = await status(guest.monitor);
      assert.ok(ring['last-avail-idx'] >= requests, JSON.stringify(ring));
      steps.begin(`cont ${stops + 1}`);
      await guest.monitor.ask('cont');
      rmSync(dies);
      await program.check(guest, [content]);
      assert.ok(diedAt(dies) > before + 8, `${diedAt(dies) - before} died`);
    }
    assert.deepEqual(
      guest.lines.filter((line) => KERNEL_COMPLAINT.test(line) || /I\/O error|is not a head/.test(line)),
      [],
    );
    assert.equal(guest.said, '');
    assert.doesNotMatch(readFileSync(log, 'utf8'), /dropped|broken|refused|not gone on/);
    t.diagnostic(`${diedAt(dies)} processes died`);
  } finally {
    steps.end();
    await guest?.close();
    keeper?.kill('SIGKILL');
    control?.close();
    program.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
