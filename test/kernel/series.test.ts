import assert from 'node:assert/strict';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { writeSeries } from '../../scripts/kernel-series.js';
import { deviceArgs } from '../../src/cli/qemu-args.js';
import { virtioMisc } from '../../src/devices/misc/device.js';
import { serve } from '../../src/serve.js';
import { bootGuest } from '../../src/vm/boot.js';
import { Cache } from '../../src/vm/cache.js';
import { findProgram } from '../../src/vm/find-program.js';
import { prepareGuest } from '../../src/vm/image.js';
import { compileKernel, configureKernel, kernelMake } from '../../src/vm/kernel-builder.js';
import { findLinuxSource, type SourceVersion, unpackLinuxSource } from '../../src/vm/linux-source.js';
import { progressTo } from '../../src/vm/progress.js';
import { findQemu } from '../../src/vm/qemu.js';
import { run } from '../../src/vm/run.js';
import { CHECKED, SPLAT } from './debug-guest.js';

// guest/linux as patches: they apply, pass checkpatch, build with W=1, and pass their own tests in the kernel that they made.

const progress = progressTo(process.stderr, { plain: true });
const context = { cache: Cache.ofUser(), progress, signal: undefined };
const SELFTESTS = 'tools/testing/selftests/drivers/virtio_misc';
const AUTHOR = 'virtio-misc <virtio-misc@example.org>';

/** What is printed where a selftest of the kernel ran; its programs and its script are the guest's. */
async function boot(tree: string, folder: string): Promise<readonly string[]> {
  const source = path.join(folder, 'guest');
  await mkdir(path.join(source, 'tools'), { recursive: true });
  await mkdir(path.join(source, 'include/uapi/linux'), { recursive: true });
  // Its own programs; no module of ours, as the driver is in the kernel.
  await writeFile(path.join(source, 'Kbuild'), '');
  for (const program of ['misc-timer', 'misc-timer-stress'])
    await cp(path.join(tree, SELFTESTS, `${program}.c`), path.join(source, 'tools', `${program}.c`));
  for (const header of ['virtio_misc.h', 'virtio_ids.h'])
    await cp(path.join(tree, 'include/uapi/linux', header), path.join(source, 'include/uapi/linux', header));
  const [qemu, image] = await Promise.all([
    findQemu({ progress }),
    prepareGuest({ progress, kernel: tree, source }),
  ]);
  const socket = path.join(folder, 'device.sock');
  const server = await serve(virtioMisc(), { vfioUser: socket, print: false });
  const console: string[] = [];
  try {
    const { exitCode } = await bootGuest({
      qemu,
      image,
      exec: 'dmesg | grep -E "KTAP|ok [0-9]|# .*(pass|fail|skip):|virtio_misc"; for p in misc-timer misc-timer-stress; do ln -s /bin/$p /test/$p; done; sh /test/virtio_misc.sh',
      devices: deviceArgs(virtioMisc()(), 'vfio-user', socket, 'virtio0'),
      files: [
        { path: '/test/virtio_misc.sh', content: { source: path.join(tree, SELFTESTS, 'virtio_misc.sh') } },
      ],
      // KUnit comes before there is a sign of life.
      bootTimeout: 900_000,
      silence: 900_000,
      timeout: 900_000,
      onConsole: (line) => {
        console.push(line);
        CHECKED.onConsole(line);
      },
    }).finished;
    assert.equal(exitCode, 0, console.join('\n'));
  } finally {
    server.close();
  }
  return console;
}

for (const version of ['6.12', 'newest'] as const satisfies readonly SourceVersion[]) {
  test(`the series applies to Linux ${version}, is clean, builds, boots, and passes KUnit and kselftest`, async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'virtio-misc-series-'));
    const tree = path.join(folder, 'linux');
    try {
      const archive = await findLinuxSource(version, context);
      await mkdir(tree);
      await unpackLinuxSource(archive, tree, context);
      const patches = await writeSeries(tree, path.join(folder, 'patches'), AUTHOR);
      const [, ...code] = patches;
      for (const patch of code) {
        await run('patch', ['-p1', '--fuzz=0', '--input', patch], { cwd: tree });
        assert.doesNotMatch(await readFile(patch, 'utf8'), /^\+.*LINUX_VERSION_CODE/m);
        if (findProgram('perl'))
          await run('perl', ['scripts/checkpatch.pl', '--strict', '--ignore', 'FILE_PATH_CHANGES', patch], {
            cwd: tree,
          });
      }
      const make = await kernelMake(tree, context);
      await configureKernel(tree, make, ['guest', 'series']);
      const checks = findProgram('sparse') ? ['C=2'] : [];
      let said = '';
      await progress.step(`Building Linux ${version} with the series`, async (say) => {
        await make(['prepare']);
        await make(['W=1', ...checks, 'drivers/misc/virtio_misc/', 'samples/virtio_misc/'], (line) => {
          said += `${line}\n`;
        });
        await compileKernel(make, say, '-series');
      });
      assert.doesNotMatch(said, /warning|error/i);
      const all = (await boot(tree, folder)).join('\n');
      // The sample, which is the user of what is exported.
      assert.equal(
        [...all.matchAll(/virtio_misc_demo: func\(context\) called with context/g)].length,
        3,
        all,
      );
      assert.match(all, /# virtio_misc: pass:9 fail:0 skip:0 total:9/);
      assert.match(all, /^1\.\.5$/m);
      assert.equal([...all.matchAll(/^ok \d - /gm)].length, 5, all);
      assert.doesNotMatch(all, SPLAT);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
}
