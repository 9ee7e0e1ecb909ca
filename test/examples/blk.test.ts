import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { type FileHandle, open, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, afterEach, beforeEach, describe, type TestContext, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import { blk } from '../../examples/blk.js';
import * as bench from './blk-bench.js';

const { BlkBench, DISCARD, FLUSH, GET_ID, header, IN, IOERR, OK, OUT, ranges, UNSUPP, WRITE_ZEROES } = bench;

const SECTORS = 2048;
const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
const file = join(folder, 'disk.img');

/** Bytes that tell where they are on the disk. */
const pattern = (bytes: number, seed = 1): Buffer =>
  Buffer.from(Uint8Array.from({ length: bytes }, (_, at) => (at * 7 + (at >> 9) * 13 + seed) & 0xff));
const before = pattern(SECTORS * 512);
const onDisk = (sector: number, count: number): Buffer =>
  readFileSync(file).subarray(sector * 512, (sector + count) * 512);
const zeros = (sectors: number): Buffer => Buffer.alloc(sectors * 512);

const fallocate = execFileSync('sh', ['-c', 'command -v fallocate'], { encoding: 'utf8' }).trim();

/** How many descriptors of this process are of that file. */
function timesOpen(path: string): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === path;
    } catch {
      // The one that the folder is read through.
      return false;
    }
  }).length;
}

/** Puts a script in the place of util-linux's fallocate for one test. */
async function withFallocate(t: TestContext, script: string): Promise<void> {
  const { PATH } = process.env;
  t.after(() => {
    process.env.PATH = PATH;
  });
  await writeFile(join(folder, 'fallocate'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  process.env.PATH = `${folder}${delimiter}${PATH}`;
}

describe('the blk example', () => {
  beforeEach(() => writeFileSync(file, before));
  afterEach(() => BlkBench.closeAll());
  after(() => rmSync(folder, { recursive: true, force: true }));

  test('5.2.6: what is written is read back, and is in the file', async () => {
    const disk = BlkBench.of(file);
    const data = pattern(5 * 512, 99);
    assert.deepEqual(await disk.transfer(OUT, 7, { data }), { status: OK, data: new Uint8Array() });
    assert.equal((await disk.transfer(FLUSH, 0)).status, OK);
    assert.deepEqual(onDisk(7, 5), data);
    assert.deepEqual(
      [onDisk(0, 7), onDisk(12, 100)],
      [before.subarray(0, 7 * 512), before.subarray(6144, 57344)],
    );
    const { status, data: back } = await disk.transfer(IN, 6, { room: 7 * 512 });
    assert.equal(status, OK);
    assert.deepEqual(Buffer.from(back), onDisk(6, 7));
  });

  test('2.7.4: how the driver cuts a request into descriptors makes no difference', async () => {
    const disk = BlkBench.of(file);
    const data = pattern(300 * 512, 5);
    const pieces = Array.from({ length: 100 }, (_, i) => data.subarray(i * 1536, (i + 1) * 1536));
    const head = header(OUT, 1);
    assert.deepEqual([...(await disk.raw([head.subarray(0, 3), head.subarray(3), ...pieces], [1]))], [OK]);
    assert.deepEqual(onDisk(1, 300), data);
    // The last buffer has the end of the data and the status.
    const answer = await disk.raw([header(IN, 1)], [1, 511, ...Array.from({ length: 50 }, () => 3041), 1039]);
    assert.deepEqual(Buffer.from(answer), Buffer.concat([data, Buffer.of(OK)]));
  });

  test('many requests are in flight at once', async () => {
    const disk = BlkBench.of(file);
    for (let i = 0; i < 60; i++) disk.drivers[0]!.send([header(OUT, 30 * i), pattern(4096, i)], [1]);
    disk.kick(0);
    for (let i = 0; i < 60; i++) assert.deepEqual([...(await disk.next())], [OK]);
    for (let i = 0; i < 60; i++) assert.deepEqual(onDisk(30 * i, 8), pattern(4096, i));
  });

  test('5.2.5: each of its queues is served', async () => {
    const disk = BlkBench.of(file);
    assert.equal(disk.runner.device.config.view.getUint16(34, true), 64);
    assert.equal(disk.drivers.length, 64);
    for (const [queue, driver] of disk.drivers.entries()) {
      driver.send([header(OUT, queue), pattern(512, queue)], [1]);
      disk.kick(queue);
    }
    for (const [queue, driver] of disk.drivers.entries()) {
      let answer = driver.receive();
      for (; answer === undefined; answer = driver.receive()) await setImmediate();
      assert.deepEqual([...answer.bytes], [OK]);
      assert.deepEqual(onDisk(queue, 1), pattern(512, queue));
    }
  });

  test('5.2.4: the configuration space says how big the disk is and what it takes', () => {
    truncateSync(file, 1000 * 512 + 511);
    const { config, features } = BlkBench.of(file).runner.device;
    const { view } = config;
    assert.equal(
      features,
      (1n << 2n) | (1n << 6n) | (1n << 9n) | (1n << 10n) | (1n << 12n) | (1n << 13n) | (1n << 14n),
    );
    assert.equal(config.size, 60);
    assert.deepEqual(
      [view.getUint32(0, true), view.getUint32(12, true), view.getUint32(20, true)],
      [1000, 126, 512],
    );
    assert.deepEqual(
      [view.getUint32(36, true), view.getUint32(40, true), view.getUint8(56)],
      [1 << 21, 16, 1],
    );
  });

  for (const [what, sector, bytes] of [
    ['begins at the end', SECTORS, 512],
    ['runs over the end', SECTORS - 1, 1024],
    ['begins far beyond the end', 2 ** 63, 512],
    ['would wrap around', 2 ** 64 - 2048, 512],
    ['is half a sector', 0, 256],
  ] as const) {
    test(`5.2.6: a request that ${what} fails, its status in the last byte`, async () => {
      const disk = BlkBench.of(file);
      assert.equal((await disk.transfer(OUT, sector, { data: pattern(bytes, 3) })).status, IOERR);
      assert.deepEqual(await disk.transfer(IN, sector, { room: bytes }), {
        status: IOERR,
        data: new Uint8Array(bytes),
      });
      assert.deepEqual(readFileSync(file), before);
    });
  }

  test('5.2.6: a request of an unknown type is not supported', async () => {
    const disk = BlkBench.of(file);
    for (const type of [2, 3, 5, 10, 12, 14, 15, 26, 0xffff_ffff]) {
      assert.deepEqual(await disk.transfer(type, 0, { room: 9 }), {
        status: UNSUPP,
        data: new Uint8Array(9),
      });
    }
  });

  test('5.2.6: a header that is too short fails', async () => {
    const disk = BlkBench.of(file);
    for (const length of [1, 4, 15]) {
      assert.deepEqual([...(await disk.raw([header(FLUSH, 0).subarray(0, length)], [1]))], [IOERR]);
    }
    assert.deepEqual([...(await disk.raw([], [4]))], [0, 0, 0, IOERR]);
  });

  test('a request without room for its status is handed back, and not carried out', async () => {
    const disk = BlkBench.of(file);
    assert.equal((await disk.raw([header(OUT, 0), pattern(512, 3)], [])).length, 0);
    assert.deepEqual(disk.warnings, ['virtio-blk: a request has no room for its status: not carried out']);
    assert.deepEqual(readFileSync(file), before);
  });

  test('5.2.6: the id is up to 20 characters, filled up with zeros', async () => {
    const named = await BlkBench.of(file).transfer(GET_ID, 0, { room: 20 });
    assert.deepEqual([named.status, Buffer.from(named.data).toString()], [OK, `disk.img${'\0'.repeat(12)}`]);
    const long = BlkBench.of(file, { serial: '0123456789abcdefghijklmnop' });
    assert.equal(
      Buffer.from((await long.transfer(GET_ID, 0, { room: 20 })).data).toString(),
      '0123456789abcdefghij',
    );
    assert.equal(Buffer.from((await long.transfer(GET_ID, 0, { room: 3 })).data).toString(), '012');
    assert.deepEqual(
      [...(await long.transfer(GET_ID, 0, { room: 30 })).data.subarray(18)],
      [105, 106, ...Array(10).fill(0)],
    );
  });

  test('5.2.6: what is discarded takes no room on the host', async () => {
    const disk = BlkBench.of(file);
    const { blocks } = statSync(file);
    const data = ranges([0, 512], [1024, 256]);
    assert.equal((await disk.transfer(DISCARD, 0, { data })).status, OK);
    assert.deepEqual(onDisk(512, 512), before.subarray(512 * 512, 1024 * 512));
    assert.equal(statSync(file).size, before.length);
    assert.ok(statSync(file).blocks <= blocks - 700, `${statSync(file).blocks} of ${blocks} blocks`);
  });

  for (const [flags, how] of [
    [0, 'kept'],
    [1, 'allowed to go'],
  ] as const) {
    test(`5.2.6: zeros are written where asked, the room ${how}`, async () => {
      const disk = BlkBench.of(file);
      const { blocks } = statSync(file);
      const data = ranges([3, 1, flags], [100, 1200, flags]);
      assert.equal((await disk.transfer(WRITE_ZEROES, 0, { data })).status, OK);
      const expected = Buffer.from(before)
        .fill(0, 3 * 512, 4 * 512)
        .fill(0, 51_200, 665_600);
      assert.deepEqual(readFileSync(file), expected);
      if (flags === 1) assert.ok(statSync(file).blocks < blocks);
      else assert.equal(statSync(file).blocks, blocks);
    });
  }

  for (const [what, data, status] of [
    ['no range', Buffer.alloc(0), IOERR],
    ['half a range', ranges([0, 8]).subarray(0, 8), IOERR],
    ['too many ranges', ranges(...Array.from({ length: 17 }, () => [0, 8] as const)), IOERR],
    ['a range beyond the end after a good one', ranges([0, 8], [SECTORS - 1, 2]), IOERR],
    ['a range that is too long', ranges([0, 0xffff_ffff]), IOERR],
    ['a range that would wrap around', ranges([0, 8], [2 ** 64 - 2048, 2048]), IOERR],
    ['an unknown flag', ranges([0, 8], [0, 8, 2]), UNSUPP],
    ['an unknown flag at the top', ranges([0, 8, 0x8000_0000]), UNSUPP],
  ] as const) {
    test(`5.2.6.2: discarding or zeroing ${what} fails and changes nothing`, async () => {
      const disk = BlkBench.of(file);
      for (const type of [DISCARD, WRITE_ZEROES])
        assert.equal((await disk.transfer(type, 0, { data })).status, status);
      assert.deepEqual(readFileSync(file), before);
    });
  }

  test('5.2.6: ranges that touch are discarded as one, and one process is started for all of them', async (t) => {
    const log = join(folder, 'log');
    rmSync(log, { force: true });
    await withFallocate(t, `echo $PPID "$@" >>${log}; exec ${fallocate} "$@"`);
    const disk = BlkBench.of(file);
    const all = Array.from({ length: 16 }, (_, i) => [i * 16, 16] as const).reverse();
    assert.equal((await disk.transfer(DISCARD, 0, { data: ranges(...all) })).status, OK);
    const apart = ranges([1024, 8], [1040, 8], [1028, 8]);
    assert.equal((await disk.transfer(DISCARD, 0, { data: apart })).status, OK);
    const lines = readFileSync(log, 'latin1').trim().split('\n');
    const asked = lines.map((line) => /--offset (\d+) --length (\d+)/.exec(line)!.slice(1).map(Number));
    assert.deepEqual(asked, [
      [0, 256 * 512],
      [1024 * 512, 12 * 512],
      [1040 * 512, 8 * 512],
    ]);
    assert.equal(new Set(lines.map((line) => line.split(' ')[0])).size, 1);
    assert.deepEqual(onDisk(0, 256), zeros(256));
    assert.deepEqual(onDisk(1036, 4), before.subarray(1036 * 512, 1040 * 512));
  });

  test('5.2.6.2: discarding does not know the unmap flag', async () => {
    assert.equal((await BlkBench.of(file).transfer(DISCARD, 0, { data: ranges([0, 8, 1]) })).status, UNSUPP);
    assert.deepEqual(readFileSync(file), before);
  });

  test('2.2: what was not negotiated is not supported', async () => {
    const disk = new BlkBench(blk({ file }), 0n);
    for (const type of [DISCARD, WRITE_ZEROES])
      assert.equal((await disk.transfer(type, 0, { data: ranges([0, 8]) })).status, UNSUPP);
    assert.equal((await disk.transfer(OUT, 0, { data: zeros(1) })).status, OK);
    assert.deepEqual(onDisk(0, 1), zeros(1));
  });

  test('5.2.6.2: a read-only disk is offered as one, and is not written to', async () => {
    const disk = BlkBench.of(file, { readOnly: true });
    assert.equal(disk.runner.device.features & ((1n << 5n) | (3n << 13n)), 1n << 5n);
    assert.equal((await disk.transfer(OUT, 0, { data: zeros(1) })).status, IOERR);
    for (const type of [DISCARD, WRITE_ZEROES])
      assert.equal((await disk.transfer(type, 0, { data: ranges([0, 8]) })).status, UNSUPP);
    assert.equal((await disk.transfer(FLUSH, 0)).status, OK);
    assert.deepEqual(Buffer.from((await disk.transfer(IN, 5, { room: 512 })).data), onDisk(5, 1));
    assert.deepEqual(readFileSync(file), before);
    assert.deepEqual(disk.warnings, []);
  });

  test('a file that is cut or gone makes requests fail, and says why', async () => {
    const disk = BlkBench.of(file);
    truncateSync(file, 512);
    assert.equal((await disk.transfer(IN, 0, { room: 1024 })).status, IOERR);
    const make = blk({ file })();
    rmSync(file);
    const gone = new BlkBench(() => make);
    assert.equal((await gone.transfer(IN, 0, { room: 512 })).status, IOERR);
    assert.match(gone.warnings[0]!, /request of type 0 for sector 0 failed: ENOENT/);
    assert.throws(() => blk({ file })(), /ENOENT/);
    assert.throws(() => blk({ file: undefined })(), /DISK=disk.img/);
    assert.throws(() => blk({ file: folder })(), /not a plain file/);
  });

  test("2.4: after a reset, what the driver before it asked for does not undo the next one's writes", async (t) => {
    const go = join(folder, 'go');
    const gone = join(folder, 'gone');
    await withFallocate(t, `until [ -e ${go} ]; do sleep 0.01; done; ${fallocate} "$@"; echo >${gone}`);
    const make = blk({ file });
    const first = new BlkBench(make);
    // The file is open then, and the discarding is under way when its turn of the event loop is over.
    assert.equal((await first.transfer(FLUSH, 0)).status, OK);
    first.drivers[0]!.send([header(DISCARD, 0), ranges([0, SECTORS])], [1]);
    first.kick(0);
    await setImmediate();
    first.runner.reset();
    const second = new BlkBench(make);
    const data = pattern(512 * 512, 2);
    const written = second.transfer(OUT, 0, { data });
    // As much time as a write takes that waits for nothing.
    for (let i = 0; i < 10; i++) await writeFile(join(folder, 'other'), data);
    writeFileSync(go, '');
    assert.equal((await written).status, OK);
    while (!existsSync(gone)) await setImmediate();
    second.runner.reset();
    const third = new BlkBench(make);
    assert.deepEqual(Buffer.from((await third.transfer(IN, 0, { room: data.length })).data), data);
    assert.deepEqual([first.warnings, second.warnings], [[], []]);
  });

  test('2.4: a reset ends the writing of zeros', async () => {
    const make = blk({ file });
    const first = new BlkBench(make);
    assert.equal((await first.transfer(FLUSH, 0)).status, OK);
    first.drivers[0]!.send([header(WRITE_ZEROES, 0), ranges([0, SECTORS])], [1]);
    first.kick(0);
    await setImmediate();
    first.runner.reset();
    const second = new BlkBench(make);
    const { data } = await second.transfer(IN, SECTORS - 8, { room: 8 * 512 });
    assert.deepEqual(Buffer.from(data), before.subarray(-8 * 512));
    assert.deepEqual(onDisk(0, 8), zeros(8));
  });

  test('5.2.6.2: a driver that can not flush has its writes on the disk when they are answered', async (t) => {
    const probe = await open(file);
    const datasync = t.mock.method(Object.getPrototypeOf(probe) as FileHandle, 'datasync');
    await probe.close();
    const data = pattern(512);
    const flushing = BlkBench.of(file);
    assert.equal((await flushing.transfer(OUT, 0, { data })).status, OK);
    assert.equal(datasync.mock.callCount(), 0);
    assert.equal((await flushing.transfer(FLUSH, 0)).status, OK);
    assert.equal(datasync.mock.callCount(), 1);
    const other = new BlkBench(blk({ file }), 1n << 14n);
    assert.equal((await other.transfer(OUT, 0, { data })).status, OK);
    assert.equal((await other.transfer(WRITE_ZEROES, 0, { data: ranges([0, 1]) })).status, OK);
    assert.equal(datasync.mock.callCount(), 3);
  });

  test('the file is closed when its driver is gone, and when edited code has taken its place', async (t) => {
    // Files that nobody closed Node closes some time, with a warning.
    const warned: Error[] = [];
    const warning = (error: Error): void => void warned.push(error);
    process.on('warning', warning);
    t.after(() => process.off('warning', warning));
    const disk = BlkBench.of(file);
    assert.equal((await disk.transfer(FLUSH, 0)).status, OK);
    assert.equal(timesOpen(file), 1);
    disk.runner.replace(blk({ file })());
    assert.equal((await disk.transfer(FLUSH, 0)).status, OK);
    while (timesOpen(file) > 1) await setImmediate();
    disk.runner.close();
    while (timesOpen(file) > 0) await setImmediate();
    await setImmediate();
    assert.deepEqual(warned, []);
  });

  test('5.2.6: where the host has no holes, discarding does nothing and zeros are written', async (t) => {
    await withFallocate(t, 'exit 1');
    const disk = BlkBench.of(file);
    assert.equal((await disk.transfer(DISCARD, 0, { data: ranges([0, SECTORS]) })).status, OK);
    assert.deepEqual(readFileSync(file), before);
    assert.equal((await disk.transfer(WRITE_ZEROES, 0, { data: ranges([8, 600, 1]) })).status, OK);
    assert.deepEqual(readFileSync(file), Buffer.from(before).fill(0, 8 * 512, 608 * 512));
    process.env.PATH = folder;
    rmSync(join(folder, 'fallocate'));
    const without = BlkBench.of(file);
    assert.equal((await without.transfer(DISCARD, 0, { data: ranges([0, 8]) })).status, OK);
    assert.deepEqual([onDisk(0, 8), disk.warnings, without.warnings], [before.subarray(0, 4096), [], []]);
  });

  test('memory that is gone breaks the queue, not the process', async () => {
    const disk = BlkBench.of(file);
    disk.drivers[0]!.send([header(IN, 0)], [512, 1]);
    disk.kick(0);
    disk.drivers[0]!.memory.clear();
    while (disk.broken.length === 0) await setImmediate();
    assert.deepEqual(disk.broken, [0]);
  });

  test('whatever a driver sends is answered, and leaves the disk as long as it was', async () => {
    const disk = BlkBench.of(file);
    const number = fc.oneof(fc.integer({ min: 0, max: 16 }), fc.integer({ min: 0, max: 0xffff_ffff }));
    const words = fc.array(number, { maxLength: 40 }).map((all) => Buffer.from(Uint32Array.from(all).buffer));
    const bytes = fc.oneof(words, fc.uint8Array({ maxLength: 3 }).map(Buffer.from));
    const pieces = fc.array(bytes, { maxLength: 4 }).map((all) => all.filter((piece) => piece.length > 0));
    const room = fc.array(fc.integer({ min: 1, max: 3000 }), { maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(pieces, room, async (sent, writable) => {
        if (sent.length + writable.length === 0) return;
        const answer = await disk.raw(sent, writable);
        const total = writable.reduce((sum, length) => sum + length, 0);
        assert.equal(answer.length, total);
        if (total > 0) assert.ok(answer.at(-1)! <= UNSUPP);
      }),
      { numRuns: 300 },
    );
    assert.deepEqual(disk.broken, []);
    assert.equal(statSync(file).size, before.length);
  });
});
