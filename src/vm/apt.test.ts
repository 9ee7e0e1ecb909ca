import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Apt, findArchive } from './apt.js';
import { run } from './run.js';

let folder: string;
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'virtio-misc-apt-'));
});
after(() => rm(folder, { recursive: true }));

test('packages of other suites are resolved and fetched by a machine whose keyring is older than those', async () => {
  // Debian 12's release key has signed Debian 12 itself, but neither its successor nor any backports.
  const keyrings = ['/usr/share/keyrings/debian-archive-bookworm-stable.gpg'];
  const archive = { ...(await findArchive()), suite: 'bookworm', keyrings };
  const versions = await Apt.use(
    folder,
    ['trixie-backports'],
    async (apt) => {
      const [seabios] = await apt.closure(['seabios'], 'trixie-backports');
      assert.match(seabios!, /^seabios=.*~bpo13/);
      const debs = await apt.download([seabios!]);
      return Promise.all(debs.map((deb) => run('dpkg-deb', ['--field', deb, 'Version'])));
    },
    undefined,
    archive,
  );
  assert.equal(versions.length, 1);
  assert.match(versions[0]!, /~bpo13/);
  assert.deepEqual(await readdir(folder), [], 'nothing is left behind');
});

test('what is signed by nobody that the machine trusts is refused', async () => {
  const keyrings = ['/usr/share/keyrings/debian-archive-bullseye-stable.gpg'];
  const archive = { ...(await findArchive()), suite: 'trixie-backports', keyrings };
  const use = Apt.use(folder, ['trixie-backports'], async () => assert.fail('used'), undefined, archive);
  await assert.rejects(use, { code: 'DOWNLOAD', message: /NO_PUBKEY|Missing key/ });
  assert.deepEqual(await readdir(folder), []);
});

test('a mirror that is not there, and a package that is not there, are named', async () => {
  const found = await findArchive();
  const gone = { ...found, uri: 'http://127.0.0.1:9/debian' };
  await assert.rejects(
    Apt.use(folder, ['bookworm'], async () => assert.fail('used'), undefined, gone),
    {
      code: 'DOWNLOAD',
      message: /127\.0\.0\.1:9/,
    },
  );
  await Apt.use(folder, ['trixie-backports'], async (apt) => {
    await assert.rejects(apt.closure(['no-such-package'], 'trixie-backports'), {
      message: /no-such-package/,
    });
    await assert.rejects(apt.download(['no-such-package=1']), { message: /no-such-package/ });
  });
  assert.deepEqual(await readdir(folder), []);
});
