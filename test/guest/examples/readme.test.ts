import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import '../../accel.js';

const root = fileURLToPath(new URL('../../../../', import.meta.url));

/** What a device's commands print, among the rest. */
const PRINTED: Readonly<Record<string, RegExp>> = {
  'rng.ts': /^00000010( +[0-9a-f]{2}){16} {2}\|.{16}\|$/m,
  'blk.ts': /^disk\.img\n(.*\n)*from the guest$/m,
  'console.ts': /^hello$/m,
  // The first key of the sentence goes down.
  'input.ts': / 0001 0023 0001 0000/,
  'net.ts': /^[1-9]\d* came back$/m,
  'balloon.ts': /^asked for 64 MiB\n(.*\n)*\{.*"free":\d+/m,
};

test('the commands in examples/README.md do what it says', async (t) => {
  const readme = readFileSync(join(root, 'examples/README.md'), 'utf8');
  const sections = [...readme.matchAll(/^### `([\w-]+\.ts)`.*?^```sh\n(.*?)^```/gms)];
  assert.deepEqual(
    sections.map(([, name]) => name),
    Object.keys(PRINTED),
  );
  for (const [, name, commands] of sections) {
    await t.test(name!, () => {
      const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
      try {
        symlinkSync(join(root, 'examples'), join(folder, 'examples'));
        // npx would look for the program in a package, which the folder is not.
        const script = commands!.replaceAll(
          'npx virtio-misc',
          `"$NODE" "${join(root, 'dist/src/cli/main.js')}"`,
        );
        const { status, stdout, stderr } = spawnSync('sh', ['-ec', script], {
          cwd: folder,
          encoding: 'utf8',
          env: { ...process.env, NODE: process.execPath },
          timeout: 240_000,
        });
        assert.equal(status, 0, stdout + stderr);
        assert.match(stdout, PRINTED[name!]!, stderr);
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    });
  }
});
