import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { start } from '../virtio-misc.js';

test('Ctrl-C ends the guest and leaves no process, no socket and no folder behind', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  const cache =
    process.env.VIRTIO_MISC_CACHE ??
    join(process.env.XDG_CACHE_HOME ?? join(process.env.HOME!, '.cache'), 'virtio-misc');
  const child = start(['vm', '--device', 'test', '--device', 'misc', '--exec', 'echo up; sleep 1000'], {
    TMPDIR: folder,
    VIRTIO_MISC_CACHE: cache,
  });
  try {
    let stderr = '';
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    for await (const line of createInterface({ input: child.stdout! })) if (line === 'up') break;
    child.stdout!.resume();
    const children = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim().split(' ');
    // QEMU, and for each device the process that runs it and perhaps the one that is ready.
    assert.ok(children.length >= 3, children.join());
    child.kill('SIGINT');
    assert.deepEqual(await once(child, 'exit'), [130, null]);
    assert.match(stderr, /stopped by SIGINT\n$/);
    assert.deepEqual(
      children.filter((pid) => existsSync(`/proc/${pid}`)),
      [],
    );
    assert.deepEqual(readdirSync(folder), []);
  } finally {
    child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
});
