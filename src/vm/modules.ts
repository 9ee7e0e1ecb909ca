import { createHash } from 'node:crypto';
import { cp, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Cache } from './cache.js';
import { compilerWords } from './compiler-words.js';
import type { Kernel } from './kernel.js';
import type { Progress } from './progress.js';
import { run } from './run.js';
import { findToolchain, kernelGcc } from './toolchain.js';
import { VmError } from './vm-error.js';

/** Our own modules and programs for the guest, seen from `dist/src/vm/`. */
const GUEST_SOURCE: string = fileURLToPath(new URL('../../../guest/linux', import.meta.url));

export interface GuestCodeOptions {
  /** More modules: C files, each one module. Headers beside them, and ours, can be included. */
  readonly modules?: readonly string[];
  /** More user programs: C files, each one program named after it. */
  readonly tools?: readonly string[];
  /** The folder to take instead of our own `guest/linux`. */
  readonly source?: string;
}

/** Built code, as folders of files. */
export interface GuestCode {
  /** `*.ko`. */
  readonly modules: string;
  /** Static programs. */
  readonly programs: string;
  /** All that the compiler said: warnings too. */
  readonly log: string;
}

/** Builds modules (with W=1) and programs for the guest, or takes them from the cache when no source changed. */
export async function buildGuestCode(
  kernel: Kernel,
  { modules = [], tools = [], source = GUEST_SOURCE }: GuestCodeOptions,
  { cache, progress, signal }: { cache: Cache; progress: Progress; signal: AbortSignal | undefined },
): Promise<GuestCode> {
  const sources = [...(await ownSources(source)), ...(await extraSources(modules, tools))];
  const clash = sources.find(({ to }, index) => sources.findIndex((other) => other.to === to) < index);
  if (clash) throw new VmError('BUILD', `${clash.from}: there is already a ${clash.to} for the guest`);
  const names = modules.map((file) => path.basename(file, '.c'));
  const recipe = {
    kernel: kernel.id,
    sources: sources.map(({ to, hash }) => [to, hash]),
    names,
    version: 3,
  };
  const folder = await cache.entry(
    'modules',
    recipe,
    async (draft) => {
      // Before the step, so that its time is not the compiler's download.
      const toolchain = await findToolchain(cache, progress, signal, await kernelGcc(kernel.headers));
      await progress.step('Building the guest modules', async () => {
        const build = await mkdtemp(path.join(draft, 'build-'));
        for (const { from, to } of sources) await cp(from, path.join(build, to));
        const kbuild = path.join(build, 'Kbuild');
        const listed = await readFile(kbuild, 'utf8').catch(() => '');
        await writeFile(kbuild, `${listed}\n${names.map((name) => `obj-m += ${name}.o\n`).join('')}`);
        try {
          await compile(kernel, toolchain, build, draft, signal);
        } catch (error) {
          if (!(error instanceof VmError && error.code === 'BUILD')) throw error;
          const said = error.message.slice(error.message.indexOf('\n') + 1);
          throw new VmError(
            'BUILD',
            `code for the guest does not compile:\n${compilerWords(said, build, sources)}`,
          );
        }
        await rm(build, { recursive: true });
      });
    },
    signal,
  );
  return {
    modules: path.join(folder, 'modules'),
    programs: path.join(folder, 'programs'),
    log: path.join(folder, 'build.log'),
  };
}

async function compile(
  kernel: Kernel,
  { cc, env }: { cc: readonly string[]; env: NodeJS.ProcessEnv },
  build: string,
  target: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const modules = path.join(target, 'modules');
  const programs = path.join(target, 'programs');
  await mkdir(modules);
  await mkdir(programs);
  const options = { env: { ...env, LC_ALL: 'C.UTF-8' }, signal, code: 'BUILD' as const };
  let log = '';
  const tools = await readdir(path.join(build, 'tools')).catch(() => []);
  const [program, ...args] = cc as [string, ...string[]];
  for (const tool of tools.filter((file) => file.endsWith('.c'))) {
    const output = path.join(programs, path.basename(tool, '.c'));
    const flags = [
      '-O2',
      '-Wall',
      '-Wextra',
      // Nobody debugs them in the guest, and every byte is carried into it.
      ...['-static', '-s'],
      `-I${build}/include/uapi`,
      '-o',
      output,
      path.join(build, 'tools', tool),
    ];
    log += await run('sh', ['-c', 'exec "$@" 2>&1', 'sh', program, ...args, ...flags], options);
  }
  const make = [
    '-C',
    kernel.headers,
    `M=${build}`,
    ...['W=1', 'KCFLAGS=-g0'],
    // Type information for tracers, which takes a program (pahole) of the very version that the kernel had.
    'CONFIG_DEBUG_INFO_BTF=',
    'CONFIG_DEBUG_INFO_BTF_MODULES=',
    ...['PAHOLE=false', 'CONFIG_PAHOLE_VERSION=0'],
    `CC=${cc.join(' ')}`,
    `HOSTCC=${cc.join(' ')}`,
    '-j2',
    'modules',
  ];
  // Warnings come on the standard error; both belong to the log.
  log += await run('sh', ['-c', 'exec make "$@" 2>&1', 'make', ...make], options);
  for (const file of await readdir(build)) {
    if (file.endsWith('.ko')) await rename(path.join(build, file), path.join(modules, file));
  }
  await writeFile(path.join(target, 'build.log'), log);
}

interface Source {
  readonly from: string;
  /** Relative to the folder that is built. */
  readonly to: string;
  readonly hash: string;
}

async function ownSources(folder: string): Promise<Source[]> {
  const files = await readdir(folder, { recursive: true, withFileTypes: true }).catch((error: Error) => {
    throw new VmError('BUILD', `no sources for the guest: ${error.message}`);
  });
  const wanted = files.filter(
    (file) => file.isFile() && /(\.[ch]|^Kbuild)$/.test(file.name) && !file.name.endsWith('.mod.c'),
  );
  const paths = wanted.map((file) => path.join(file.parentPath, file.name)).sort();
  return Promise.all(paths.map((from) => describe(from, path.relative(folder, from))));
}

async function extraSources(modules: readonly string[], tools: readonly string[]): Promise<Source[]> {
  for (const file of [...modules, ...tools]) {
    if (!/^[\w-]+\.c$/.test(path.basename(file)))
      throw new VmError('BUILD', `${file}: not the name of a C file (name.c)`);
  }
  const found: Promise<Source>[] = [];
  for (const folder of new Set(modules.map((file) => path.dirname(path.resolve(file))))) {
    const headers = (await readdir(folder).catch(() => [])).filter((file) => file.endsWith('.h'));
    found.push(...headers.map((file) => describe(path.join(folder, file), file)));
  }
  found.push(...modules.map((file) => describe(file, path.basename(file))));
  found.push(...tools.map((file) => describe(file, path.join('tools', path.basename(file)))));
  return Promise.all(found);
}

async function describe(from: string, to: string): Promise<Source> {
  const content = await readFile(from).catch((error: NodeJS.ErrnoException) => {
    throw new VmError('BUILD', error.code === 'ENOENT' ? `there is no file ${from}` : error.message);
  });
  return { from, to, hash: createHash('sha256').update(content).digest('hex') };
}
