import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { blk } from '../../examples/blk.js';
import { serve } from '../../src/index.js';
import { Cache } from '../../src/vm/cache.js';
import { LIBRARIES, prefixCommand } from '../../src/vm/prefix.js';
import { progressTo } from '../../src/vm/progress.js';
import { findTool } from '../../src/vm/qemu.js';
import { run } from '../../src/vm/run.js';
import { findToolchain } from '../../src/vm/toolchain.js';
import { foreign } from './debian.js';

// A front-end that nobody here wrote, in Rust: rings of 256, as many queues as it has threads, memory that comes and goes in slots.

const MIB = 1024 * 1024;
const folder = mkdtempSync(path.join(tmpdir(), 'virtio-misc-test-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** libblkio, its own benchmark built from the source that Debian ships as an example, and QEMU's module for it. */
async function libblkio(): Promise<string> {
  return foreign({
    name: 'libblkio',
    packages: ['libblkio-dev', 'qemu-block-extra'],
    needed: /^(libblkio\w*|libblkio-dev|libgcc-s1|libc6|qemu-block-extra)=/,
    version: 1,
    async build(prefix) {
      const { cc, env } = await findToolchain(Cache.ofUser(), progressTo(process.stderr, { plain: true }));
      const [compiler, ...args] = cc as [string, ...string[]];
      const at = (...names: string[]): string => path.join(prefix, ...names);
      await run(
        compiler,
        [
          ...args,
          ...['-O2', '-pthread', '-I', at('usr/include'), '-o', at('usr/bin/blkio-bench')],
          at('usr/share/doc/libblkio-dev/examples/blkio-bench.c'),
          // libblkio is of a newer Debian than the compiler, and its C library is there when it runs.
          ...[at(LIBRARIES, 'libblkio.so.1'), '-Wl,--allow-shlib-undefined'],
        ],
        { env },
      );
    },
  });
}

/** Serves a disk while `work` goes on, and has nothing said against its front-ends. */
async function served(
  name: string,
  bytes: Buffer,
  work: (socket: string, file: string) => Promise<void>,
): Promise<void> {
  const file = path.join(folder, `${name}.img`);
  const socket = path.join(folder, `${name}.sock`);
  writeFileSync(file, bytes);
  const warnings: string[] = [];
  const server = await serve(blk({ file }), {
    vhostUser: socket,
    warn: (line) => warnings.push(line),
    gone: (_, error) => void (error && warnings.push(error.message)),
  });
  try {
    await work(socket, file);
  } finally {
    server.close();
  }
  assert.deepEqual(warnings, []);
}

test("libblkio's own benchmark reads and writes the blk example, with its defaults and with a queue for each of three threads", async () => {
  const [program, ...args] = prefixCommand(await libblkio(), 'usr/bin/blkio-bench') as [string, ...string[]];
  await served('bench', Buffer.alloc(16 * MIB, 'x'), async (socket, file) => {
    const bench = async (...options: string[]): Promise<number> => {
      const driver = ['virtio-blk-vhost-user', `path=${socket}`];
      const said = await run(program, [...args, '--runtime=1', ...options, ...driver]);
      const { aggregate } = JSON.parse(said) as { aggregate: { kiops: number } };
      return aggregate.kiops;
    };
    assert.ok((await bench()) > 0);
    assert.ok((await bench('--readwrite=randread', '--num-threads=3', '--iodepth=64')) > 0);
    assert.equal(readFileSync(file).indexOf('x'), 0);
    assert.ok((await bench('--readwrite=randwrite', '--iodepth=16')) > 0);
    assert.equal(readFileSync(file).length, 16 * MIB);
  });
});

test('qemu-img copies an image to the blk example and back, by libblkio', async () => {
  const prefix = await libblkio();
  const [program, ...found] = (await findTool('qemu-img')) as [string, ...string[]];
  // The libraries of QEMU's programs first, as they are in the cache; libblkio's after them.
  const args = found.map((arg, i) =>
    found[i - 1] === '--library-path' ? `${arg}:${path.join(prefix, LIBRARIES)}` : arg,
  );
  const env = { ...process.env, QEMU_MODULE_DIR: path.join(prefix, LIBRARIES, 'qemu') };
  const image = path.join(folder, 'in.raw');
  const bytes = Buffer.from(Uint8Array.from({ length: 3 * MIB }, (_, i) => (i >>> 9) ^ i));
  writeFileSync(image, bytes);
  truncateSync(image, 32 * MIB);
  await served('copy', Buffer.alloc(32 * MIB, 'x'), async (socket, file) => {
    const img = (...command: string[]): Promise<string> => run(program, [...args, ...command], { env });
    const disk = `driver=virtio-blk-vhost-user,path=${socket},cache.direct=on`;
    const target = `driver=raw,file.driver=virtio-blk-vhost-user,file.path=${socket},cache.direct=on`;
    await img('convert', '-n', '-t', 'none', '--target-image-opts', image, target);
    assert.ok(readFileSync(file).equals(readFileSync(image)), 'on the disk');
    const back = path.join(folder, 'out.qcow2');
    await img('convert', '-T', 'none', '-O', 'qcow2', '--image-opts', disk, back);
    assert.match(await img('compare', image, back), /identical/);
    assert.match(await img('bench', '-c', '2000', '-t', 'none', '--image-opts', disk), /Run completed/);
  });
});
