import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { Cache } from './cache.js';
import { inspect } from './inspect.js';
import { findQemu } from './qemu.js';

/** Runs with other settings in the environment. */
async function withEnv<T>(changes: Record<string, string>, work: () => Promise<T>): Promise<T> {
  const usual = { ...process.env };
  Object.assign(process.env, changes);
  try {
    return await work();
  } finally {
    process.env = usual;
  }
}

test('on a machine that can fetch everything, all is well before anything is fetched, and nothing is touched', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'virtio-misc-inspect-'));
  try {
    const findings = await withEnv({ VIRTIO_MISC_QEMU: '' }, () =>
      inspect(new Cache(path.join(folder, 'a/b'))),
    );
    assert.deepEqual(
      findings.map(({ what }) => what),
      ['node', 'qemu', 'guest kernel', 'gcc and make', 'processor', "Debian's archive", 'cache'],
    );
    for (const { what, ok, detail } of findings) assert.ok(ok, `${what}: ${detail}`);
    assert.deepEqual(await readdir(folder), []);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('on a machine without anything, each thing that is missing comes with what to do', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'virtio-misc-inspect-'));
  try {
    const cache = new Cache(path.join(folder, 'cache'));
    await withEnv({ VIRTIO_MISC_QEMU: '', PATH: folder }, async () => {
      for (const { what, ok, hint } of await inspect(cache)) {
        assert.equal(ok, ['node', 'processor', 'cache'].includes(what), what);
        assert.equal(hint !== undefined, !ok, what);
      }
      await assert.rejects(findQemu({ cache }), {
        code: 'HOST',
        message: /no qemu-system-x86_64 on PATH, and this machine has no apt-get, .*: install QEMU >= 11\.1/,
      });
    });
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('a QEMU that is named but of no use is an error, not passed over', async () => {
  await withEnv({ VIRTIO_MISC_QEMU: '/bin/true' }, async () => {
    const qemu = (await inspect()).find(({ what }) => what === 'qemu')!;
    assert.equal(qemu.ok, false);
    assert.match(qemu.hint!, /VIRTIO_MISC_QEMU/);
    await assert.rejects(findQemu(), {
      code: 'HOST',
      message: /VIRTIO_MISC_QEMU: \/bin\/true is QEMU .*, older than 11\.1/,
    });
  });
});
