import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { BlkDriver, SECTOR } from '../../examples/blk-driver.js';
import { connectVhostUser, TransportError } from '../../src/index.js';
import { progressTo } from '../../src/vm/progress.js';
import { findTool } from '../../src/vm/qemu.js';

// A back end that nobody here wrote: QEMU's, in C, on libvhost-user.

const SECTORS = 16_384;

/** Exports an image over vhost-user. */
async function exportImage(folder: string): Promise<{ image: string; socket: string; daemon: ChildProcess }> {
  const progress = progressTo(process.stderr, { plain: true });
  const [program, ...args] = (await findTool('qemu-storage-daemon', { progress })) as [string, ...string[]];
  const image = join(folder, 'disk.img');
  const socket = join(folder, 'blk.sock');
  const bytes = Uint8Array.from({ length: SECTORS * SECTOR }, (_, i) => (i >>> 9) ^ i);
  writeFileSync(image, bytes);
  const daemon = spawn(
    program,
    [
      ...args,
      ...['--blockdev', `driver=file,node-name=disk,filename=${image}`],
      ...[
        '--export',
        `type=vhost-user-blk,id=export,node-name=disk,writable=on,addr.type=unix,addr.path=${socket}`,
      ],
    ],
    { stdio: ['ignore', 'inherit', 'inherit'] },
  );
  while (!existsSync(socket) && daemon.exitCode === null) await sleep(20);
  assert.ok(existsSync(socket), 'the storage daemon exports the image');
  return { image, socket, daemon };
}

test('our virtio-blk driver reads and writes a disk image through qemu-storage-daemon', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  const { image, socket, daemon } = await exportImage(folder);
  try {
    const disk = await BlkDriver.open(await connectVhostUser(socket));
    assert.equal(disk.capacity, SECTORS);
    assert.equal(disk.readOnly, false);
    const before = readFileSync(image);
    for (const [sector, count] of [
      [0, 1],
      [SECTORS - 1, 1],
      [100, 64],
      [7, 333],
    ] as const) {
      const read = await disk.read(sector, count);
      assert.deepEqual(Buffer.from(read), before.subarray(sector * SECTOR, (sector + count) * SECTOR));
    }
    // Many at once, and in an order of their own.
    const expected = Buffer.from(before);
    await Promise.all(
      Array.from({ length: 500 }, async (_, i) => {
        const sector = (i * 7919) % SECTORS;
        const data = new Uint8Array(SECTOR).fill(i + 1);
        expected.set(data, sector * SECTOR);
        await disk.write(sector, data);
        assert.deepEqual(await disk.read(sector, 1), data);
      }),
    );
    await disk.flush();
    await assert.rejects(disk.read(SECTORS, 1), /the disk answers IOERR for sector 16384/);
    await disk.close();
    assert.ok(
      readFileSync(image).equals(expected),
      'the image holds what was written, and nothing else changed',
    );

    const again = await BlkDriver.open(await connectVhostUser(socket));
    assert.deepEqual(Buffer.from(await again.read(0, 128)), expected.subarray(0, 128 * SECTOR));
    daemon.kill('SIGKILL');
    await once(daemon, 'exit');
    await assert.rejects(
      again.read(0, 1),
      (error) => error instanceof TransportError && error.code === 'LOST',
    );
    await again.close();
  } finally {
    daemon.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
});
