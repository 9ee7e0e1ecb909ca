import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { MAIN } from '../virtio-misc.js';

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** Nobody listens there. */
const NO_NETWORK = 'http://127.0.0.1:9/debian';
const VM = `"${process.execPath}" "${MAIN}" vm --device test --exec true`;
const DOCTOR = `"${process.execPath}" "${MAIN}" doctor`;

interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  /** Without the line that names the device. */
  readonly said: readonly string[];
}

/** Runs a script with an empty cache of this name. */
function run(cache: string, script: string, env: Readonly<Record<string, string>> = {}): Ended {
  const { status, stdout, stderr } = spawnSync('sh', ['-c', script], {
    encoding: 'utf8',
    env: { ...process.env, TMPDIR: folder, VIRTIO_MISC_QEMU: '', VIRTIO_MISC_CACHE: cache, ...env },
  });
  const said = stderr
    .trim()
    .split('\n')
    .filter((line) => !/ over vhost-user$/.test(line));
  return { status, stdout, said };
}

/** A machine of its own as far as mounts go, in which /mnt is a file system with these options. */
function mounted(options: string, script: string): string {
  return `exec unshare --map-root-user --mount sh -c 'mount -t tmpfs -o ${options} none /mnt && { ${script} ; }'`;
}

const MOUNTS = spawnSync('sh', ['-c', mounted('size=1M', 'true')]).status === 0;
const needsMounts = MOUNTS ? {} : { skip: 'this user may not mount a file system' };

test('no network: vm says so in one line, before it fetches, and leaves nothing; doctor says what to do', () => {
  const cache = join(folder, 'offline');
  const env = { VIRTIO_MISC_DEBIAN_MIRROR: NO_NETWORK };
  const { status, said } = run(cache, VM, env);
  assert.equal(status, 1);
  assert.equal(said.length, 1, said.join('\n'));
  assert.match(
    said[0]!,
    /^virtio-misc: Debian's archive can't be reached: .*: connect to the network, or set VIRTIO/,
  );
  assert.equal(existsSync(cache), false);
  assert.deepEqual(readdirSync(folder), []);
  const doctor = run(cache, `${DOCTOR} --json`, env);
  assert.equal(doctor.status, 1);
  const { ok, findings } = JSON.parse(doctor.stdout) as {
    ok: boolean;
    findings: { what: string; ok: boolean; hint?: string }[];
  };
  assert.equal(ok, false);
  assert.deepEqual(
    findings.filter((finding) => !finding.ok).map(({ what }) => what),
    ["Debian's archive"],
  );
  assert.equal(existsSync(cache), false);
});

test('a full disk: vm and doctor say how much is needed, and nothing is left', needsMounts, () => {
  const { status, said, stdout } = run(
    '/mnt/cache',
    mounted('size=10M', `${VM} ; code=$? ; ls -A /mnt ; exit $code`),
  );
  assert.equal(status, 1);
  assert.equal(said.length, 1, said.join('\n'));
  assert.match(
    said[0]!,
    /^virtio-misc: \/mnt\/cache, 0\.0 GB free, and 0\.6 GB needed: make room, or set VIRTIO_MISC_CACHE/,
  );
  assert.equal(stdout, '');
  const doctor = run('/mnt/cache', mounted('size=10M', DOCTOR));
  assert.equal(doctor.status, 1);
  assert.match(doctor.stdout, /^missing cache +\/mnt\/cache, 0\.0 GB free, and 0\.6 GB needed\n +make room/m);
});

test(
  'a disk that gets full: the entry that was being made is removed, and one line says why',
  needsMounts,
  () => {
    const cache = JSON.stringify(new URL('../../src/vm/cache.js', import.meta.url).href);
    const script = `
    import { Cache } from ${cache};
    import { writeFileSync } from "node:fs";
    try {
      await new Cache("/mnt/cache").entry("thing", 1, async (draft) => {
        for (let i = 0; ; i++) writeFileSync(draft + "/" + i, Buffer.alloc(1e6));
      });
    } catch ({ code, message }) { console.log(code, message); }`;
    const node = `"${process.execPath}" --input-type=module -e "$SCRIPT"; ls -A /mnt/cache`;
    const { stdout } = run('/mnt/cache', mounted('size=10M', node), { SCRIPT: script });
    const [said, ...left] = stdout.trim().split('\n');
    assert.equal(
      said,
      'HOST there was no room left in /mnt/cache; VIRTIO_MISC_CACHE names another folder for what is fetched and built',
    );
    assert.deepEqual(left, ['thing.lock']);
  },
);

test('a home that can only be read: vm and doctor name the other place', needsMounts, () => {
  const { status, said } = run('/mnt/cache', mounted('ro', VM));
  assert.equal(status, 1);
  assert.equal(said.length, 1, said.join('\n'));
  assert.match(
    said[0]!,
    /^virtio-misc: nothing can be written to \/mnt: its file system is read-only: set VIRTIO_MISC_CACHE/,
  );
  const doctor = run('/mnt/cache', mounted('ro', DOCTOR));
  assert.match(
    doctor.stdout,
    /^missing cache +nothing can be written to \/mnt: its file system is read-only$/m,
  );
});

test('a cache of another version: what is in it does not count as there', () => {
  const cache = join(folder, 'old');
  for (const name of ['qemu', 'linux', 'toolchain'])
    mkdirSync(join(cache, `${name}-0123456789abcdef`), { recursive: true });
  const { stdout } = run(cache, DOCTOR, { VIRTIO_MISC_DEBIAN_MIRROR: NO_NETWORK, PATH: process.env.PATH! });
  assert.match(stdout, /^ok +guest kernel +will be fetched from Debian$/m);
  assert.match(stdout, /^missing Debian's archive/m);
  execFileSync('rm', ['-r', cache]);
});
