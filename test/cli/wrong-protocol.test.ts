import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { connectVfioUser, connectVhostUser, defineDevice, openDriver, serve } from '../../src/index.js';

const make = defineDevice({ id: 60, name: 'virtio-none', queues: [{ name: 'q' }] });
const options = { id: 60, features: 0n, queues: 1 };

test('who speaks the other protocol is told so, and so is the server', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  const [vhostUser, vfioUser] = [join(folder, 'vhost'), join(folder, 'vfio')];
  const gone: string[] = [];
  const server = await serve(make, {
    vhostUser,
    vfioUser,
    warn() {},
    gone: (_, error) => void gone.push(error?.message ?? ''),
  });
  try {
    await assert.rejects(
      connectVfioUser(vhostUser).then((transport) => openDriver(transport, options)),
      {
        message: 'the vfio-user server is gone, and answered nothing: is it one of vhost-user?',
      },
    );
    await assert.rejects(
      connectVhostUser(vfioUser).then((transport) => openDriver(transport, options)),
      {
        message: 'the back-end is gone, and answered nothing: is it a vfio-user server?',
      },
    );
  } finally {
    server.close();
    rmSync(folder, { recursive: true, force: true });
  }
  assert.match(
    gone[0]!,
    /looks like vfio-user, and this is vhost-user: .* serve the device with --vfio-user$/,
  );
  assert.match(
    gone[1]!,
    /looks like vhost-user, and this is vfio-user: .* serve the device with --vhost-user$/,
  );
});
