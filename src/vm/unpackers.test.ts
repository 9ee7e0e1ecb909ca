import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Cache } from './cache.js';
import { progressTo } from './progress.js';
import { unpackBytes, unpackFiles } from './unpackers.js';

const context = {
  cache: Cache.ofUser(),
  progress: progressTo(process.stderr, { plain: true }),
  signal: undefined,
};
/** `hello\n`, as xz and zstd pack it. */
const PACKED = {
  xz: '/Td6WFoAAATm1rRGAgAhARYAAAB0L+WjAQAFaGVsbG8KAAAApWCX8ZT2/eAAAR4GwS+kHR+2830BAAAAAARZWg==',
  zstd: 'KLUv/QRYMQAAaGVsbG8KU4i9kQ==',
} as const;
let folder: string;
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'virtio-misc-unpackers-'));
});
after(() => rm(folder, { recursive: true }));

for (const packing of ['xz', 'zstd'] as const) {
  test(`${packing}: bytes, files in place; what is broken is refused`, async () => {
    const packed = Buffer.from(PACKED[packing], 'base64');
    assert.equal((await unpackBytes(packing, packed, context)).toString(), 'hello\n');
    const suffix = packing === 'xz' ? 'xz' : 'zst';
    const inner = await mkdtemp(path.join(folder, 'files-'));
    await writeFile(path.join(inner, `a.ko.${suffix}`), packed);
    await unpackFiles(packing, [path.join(inner, `a.ko.${suffix}`)], context);
    assert.deepEqual(await readdir(inner), ['a.ko']);
    assert.equal(await readFile(path.join(inner, 'a.ko'), 'utf8'), 'hello\n');
    await assert.rejects(unpackBytes(packing, packed.subarray(0, 8), context), { code: 'HOST' });
  });
}

test('a machine without xz and zstd gets those of Debian', async () => {
  const programs = await mkdtemp(path.join(folder, 'bin-'));
  for (const place of ['/bin', '/usr/bin']) {
    for (const name of await readdir(place)) {
      if (!/xz|zst/.test(name))
        await symlink(path.join(place, name), path.join(programs, name)).catch(() => {});
    }
  }
  const usual = process.env.PATH;
  process.env.PATH = programs;
  try {
    for (const packing of ['xz', 'zstd'] as const) {
      const packed = Buffer.from(PACKED[packing], 'base64');
      assert.equal((await unpackBytes(packing, packed, context)).toString(), 'hello\n');
    }
  } finally {
    process.env.PATH = usual;
  }
});
