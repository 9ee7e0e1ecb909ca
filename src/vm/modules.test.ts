import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { bootGuest } from './boot.js';
import { Cache } from './cache.js';
import { findKernel } from './find-kernel.js';
import { prepareGuest } from './image.js';
import { buildGuestCode } from './modules.js';
import { type Progress, progressTo, silent } from './progress.js';
import { findQemu } from './qemu.js';
import { findToolchain } from './toolchain.js';
import { VmError } from './vm-error.js';

const progress: Progress = progressTo(process.stderr, { plain: true });
let folder: string;
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'virtio-misc-modules-'));
});
after(() => rm(folder, { recursive: true }));

async function write(name: string, text: string): Promise<string> {
  const file = path.join(folder, name);
  await writeFile(file, text);
  return file;
}

const MODULE = `#include <linux/module.h>
#include "own_words.h"
static int __init own_module_init(void) { pr_info("%s\\n", WORDS); return 0; }
static void __exit own_module_exit(void) { pr_info("own module left\\n"); }
module_init(own_module_init);
module_exit(own_module_exit);
MODULE_LICENSE("GPL");
`;
const TOOL = `#include <stdio.h>
int main(int argc, char **argv) { printf("tool %d %s\\n", argc, argv[1]); return 9; }
`;

test('a user’s module and program are built, loaded and run', async () => {
  await write('own_words.h', '#define WORDS "own module loaded"\n');
  const image = await prepareGuest({
    progress,
    modules: [await write('own_module.c', MODULE)],
    tools: [await write('own-tool.c', TOOL)],
  });
  assert.doesNotMatch(image.buildLog, /warning:/);
  const said: string[] = [];
  const guest = bootGuest({
    qemu: await findQemu({ progress }),
    image,
    exec: 'rmmod own_module; own-tool arg',
    load: ['own_module'],
    onConsole: (line) => said.push(line.replace(/^\[.*?\] /, '')),
  });
  assert.deepEqual(await guest.finished, { exitCode: 9 });
  // The kernel notes a module from outside its tree, and one that is not signed.
  const lines = said.filter((line) => !/taint/.test(line));
  assert.deepEqual(lines, ['own module loaded', 'own module left', 'tool 2 arg']);
});

test('our own guest code builds with W=1 and no warning', async () => {
  const { buildLog } = await prepareGuest({ progress });
  assert.doesNotMatch(buildLog, /warning:/);
  assert.match(buildLog, /virtio_test\.ko/);
});

test('code is built again when a source or a header changed, and only then', async () => {
  const cache = Cache.ofUser();
  const kernel = await findKernel(cache, progress);
  const source = path.join(folder, 'source');
  await mkdir(source);
  await writeFile(path.join(source, 'Kbuild'), 'obj-m := changing.o\n');
  await writeFile(path.join(source, 'changing.c'), MODULE.replace('own_words.h', 'changing.h'));
  const build = async (words: string): Promise<{ folder: string; built: boolean }> => {
    await writeFile(path.join(source, 'changing.h'), `#define WORDS "${words}"\n`);
    let built = false;
    const watch: Progress = {
      step: (what, work) => {
        built ||= what.includes('Building');
        return silent.step(what, work);
      },
    };
    const code = await buildGuestCode(kernel, { source }, { cache, progress: watch, signal: undefined });
    return { folder: code.modules, built };
  };
  const unique = `${process.pid}-${Date.now()}`;
  const first = await build(`${unique}-1`);
  assert.ok(first.built);
  assert.deepEqual(await readdir(first.folder), ['changing.ko']);
  assert.deepEqual(await build(`${unique}-1`), { folder: first.folder, built: false });
  const second = await build(`${unique}-2`);
  assert.ok(second.built);
  assert.notEqual(second.folder, first.folder);
  assert.ok((await readFile(path.join(second.folder, 'changing.ko'))).includes(`${unique}-2`));
  for (const made of [first, second]) await rm(path.dirname(made.folder), { recursive: true });
});

test('code that does not compile is told in the compiler’s words; other mistakes are named', async () => {
  const broken = await write('broken.c', 'this is no C\n');
  const named = async (options: { modules?: string[]; tools?: string[] }, pattern: RegExp): Promise<void> => {
    await assert.rejects(prepareGuest({ progress, ...options }), (error: unknown) => {
      assert.ok(error instanceof VmError);
      assert.equal(error.code, 'BUILD');
      assert.match(error.message, pattern);
      return true;
    });
  };
  await named({ modules: [broken] }, /broken\.c:1:1: error:/);
  await named({ tools: [broken] }, /broken\.c:1:1: error:/);
  await named({ modules: [path.join(folder, 'missing.c')] }, /missing\.c/);
  await named({ modules: [path.join(folder, 'name.o')] }, /name\.o: not the name of a C file/);
  await named({ modules: [await write('virtio_test.c', MODULE)] }, /there is already a virtio_test\.c/);
});

test('without a compiler on the machine, Debian’s is fetched and builds the same things', async () => {
  const programs = path.join(folder, 'bin');
  await mkdir(programs);
  const hidden =
    /^(.*gcc.*|cc|c[89]9.*|g?make|as|ld.*|ar|nm|objdump|objcopy|strip|cpp.*|x86_64-linux-gnu-.*)$/;
  for (const place of ['/bin', '/usr/bin']) {
    for (const name of await readdir(place)) {
      if (!hidden.test(name))
        await symlink(path.join(place, name), path.join(programs, name)).catch(() => {});
    }
  }
  const usual = process.env.PATH;
  process.env.PATH = programs;
  try {
    const cache = Cache.ofUser();
    const toolchain = await findToolchain(cache, progress);
    assert.equal(toolchain.origin, 'cache');
    const source = path.join(folder, 'tiny');
    await mkdir(path.join(source, 'tools'), { recursive: true });
    await writeFile(path.join(source, 'Kbuild'), 'obj-m := tiny.o\n');
    await writeFile(
      path.join(source, 'tiny.c'),
      `/* ${Date.now()} */\n${MODULE.replace('#include "own_words.h"', '#define WORDS "w"')}`,
    );
    await writeFile(path.join(source, 'tools/tool.c'), TOOL);
    const kernel = await findKernel(cache, progress);
    const code = await buildGuestCode(kernel, { source }, { cache, progress, signal: undefined });
    assert.deepEqual(await readdir(code.modules), ['tiny.ko']);
    assert.deepEqual(await readdir(code.programs), ['tool']);
    assert.doesNotMatch(await readFile(code.log, 'utf8'), /warning:/);
    await rm(path.dirname(code.modules), { recursive: true });
  } finally {
    process.env.PATH = usual;
  }
});
