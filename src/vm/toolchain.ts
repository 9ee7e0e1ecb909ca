import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Apt, whyNoApt } from './apt.js';
import type { Cache } from './cache.js';
import { unpack } from './deb.js';
import { layOutPrefix, wrapPrograms } from './prefix.js';
import type { Progress } from './progress.js';
import { run } from './run.js';
import { GUEST_SUITE } from './stock-kernel.js';
import { VmError } from './vm-error.js';

/** What builds code for the guest. */
export interface Toolchain {
  /** The C compiler: the program and its first arguments. */
  readonly cc: readonly string[];
  /** With `make` and the binutils in its PATH. */
  readonly env: NodeJS.ProcessEnv;
  readonly origin: 'machine' | 'cache';
}

/** The compiler that built Debian 12's kernel; modules are best built with the one that built their kernel. */
export const GCC = 12;
/** The suites of Debian that have a compiler; the others come from where all are. */
const SUITES: Readonly<Record<number, string>> = { [GCC]: GUEST_SUITE, 14: 'trixie' };
/** The compiler's dependencies for other uses than C for the guest. */
const NOT_NEEDED =
  /^(lib(asan|lsan|tsan|ubsan|hwasan|quadmath|itm|gomp|atomic|cc1|gprofng|krb5|k5crypto|gssapi|keyutils|com-err|ssl|tirpc|nsl)[\w+.-]*|rpcsvc-proto|gcc-\d+-base)=/;
const EXCEPT = [
  './usr/share/*',
  './etc/*',
  './usr/lib/*/gconv/*',
  '*/lto1',
  '*/lto-wrapper',
  '*/lto-dump*',
  '*gcov*',
];

interface Recipe {
  readonly GUEST_SUITE: string;
  readonly PACKAGES: readonly string[];
  readonly EXCEPT: readonly string[];
  readonly version: number;
}

const recipeOf = (gcc: number): Recipe => ({
  GUEST_SUITE: SUITES[gcc] ?? 'sid',
  PACKAGES: [`gcc-${gcc}`, 'binutils', 'make', 'libc6-dev'],
  EXCEPT,
  version: 1,
});

/** The major version of the compiler that a kernel was built with, which its headers tell. */
export async function kernelGcc(headers: string): Promise<number> {
  const config = await readFile(path.join(headers, 'include/config/auto.conf'), 'utf8').catch(() => '');
  const version = /^CONFIG_GCC_VERSION=(\d+)$/m.exec(config)?.[1];
  return version ? Math.floor(Number(version) / 10_000) : GCC;
}

/**
 * Finds gcc, make and a static C library: the machine's, when they are the ones that suit the kernel, or else Debian's, unpacked
 * into the cache.
 */
export async function findToolchain(
  cache: Cache,
  progress: Progress,
  signal?: AbortSignal,
  gcc: number = GCC,
): Promise<Toolchain> {
  const why = await whyNotTheMachines(gcc);
  if (!why) return { cc: ['gcc'], env: process.env, origin: 'machine' };
  const recipe = recipeOf(gcc);
  const ready = await cache.find('toolchain', recipe);
  const impossible = whyNoApt();
  if (!ready && impossible) {
    throw new VmError('HOST', `${why}, and ${impossible}: install gcc ${gcc}, make and a static C library`);
  }
  const prefix = await cache.entry(
    'toolchain',
    recipe,
    (draft) =>
      progress.step(`Fetching gcc ${gcc} and make from Debian`, () => provision(draft, recipe, signal)),
    signal,
  );
  const programs = path.join(prefix, 'usr/bin');
  return {
    cc: [path.join(programs, `gcc-${gcc}`), `--sysroot=${prefix}`],
    env: { ...process.env, PATH: `${programs}${path.delimiter}${process.env.PATH ?? ''}` },
    origin: 'cache',
  };
}

/** Where `findToolchain` would have put the usual compiler, when it has. */
export function provisionedToolchain(cache: Cache): Promise<string | undefined> {
  return cache.find('toolchain', recipeOf(GCC));
}

/** Why the machine's own compiler is of no use; undefined when it is fine. */
export async function whyNotTheMachines(gcc: number = GCC): Promise<string | undefined> {
  const folder = await mkdtemp(path.join(tmpdir(), 'virtio-misc-cc-'));
  try {
    const version = (await run('gcc', ['-dumpversion'])).trim();
    if (Number.parseInt(version, 10) !== gcc) return `the machine's gcc is version ${version} and not ${gcc}`;
    await run('make', ['--version']);
    const source = path.join(folder, 'try.c');
    await writeFile(source, 'int main(void) { return 0; }\n');
    await run('gcc', ['-static', '-o', path.join(folder, 'try'), source]);
    return undefined;
  } catch (error) {
    return error instanceof VmError ? error.message.split('\n')[0] : String(error);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function provision(prefix: string, recipe: Recipe, signal: AbortSignal | undefined): Promise<void> {
  await layOutPrefix(prefix);
  await Apt.use(
    prefix,
    [recipe.GUEST_SUITE],
    async (apt) => {
      const closure = await apt.closure(recipe.PACKAGES, recipe.GUEST_SUITE);
      const debs = await apt.download(closure.filter((exact) => !NOT_NEEDED.test(exact)));
      for (const deb of debs) await unpack(deb, prefix, { except: EXCEPT, signal });
    },
    signal,
  );
  for (const folder of ['usr/bin', 'usr/lib/gcc', 'usr/libexec/gcc']) {
    const whole = path.join(prefix, folder);
    if (existsSync(whole)) await wrapPrograms(prefix, whole);
  }
}
