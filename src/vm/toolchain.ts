import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Apt, whyNoApt } from './apt.js';
import type { Cache } from './cache.js';
import { unpack } from './deb.js';
import { GUEST_SUITE } from './kernel.js';
import { layOutPrefix, wrapPrograms } from './prefix.js';
import type { Progress } from './progress.js';
import { run } from './run.js';
import { VmError } from './vm-error.js';

/** What builds code for the guest. */
export interface Toolchain {
  /** The C compiler: the program and its first arguments. */
  readonly cc: readonly string[];
  /** With `make` and the binutils in its PATH. */
  readonly env: NodeJS.ProcessEnv;
  readonly origin: 'machine' | 'cache';
}

/** The compiler that built Debian 12's kernel; modules are best built with the same. */
const GCC = 12;
const PACKAGES = [`gcc-${GCC}`, 'binutils', 'make', 'libc6-dev'];
/** The compiler's dependencies for other uses than C for the guest. */
const NOT_NEEDED =
  /^(lib(asan|lsan|tsan|ubsan|quadmath|itm|gomp|atomic|cc1|gprofng|krb5|k5crypto|gssapi|keyutils|com-err|ssl|tirpc|nsl)[\w+.-]*|rpcsvc-proto|gcc-\d+-base)=/;
const EXCEPT = [
  './usr/share/*',
  './etc/*',
  './usr/lib/*/gconv/*',
  '*/lto1',
  '*/lto-wrapper',
  '*/lto-dump*',
  '*gcov*',
];
const RECIPE = { GUEST_SUITE, PACKAGES, EXCEPT, version: 1 };

/**
 * Finds gcc, make and a static C library: the machine's, when they are the ones that suit the kernel, or else Debian's, unpacked
 * into the cache.
 */
export async function findToolchain(
  cache: Cache,
  progress: Progress,
  signal?: AbortSignal,
): Promise<Toolchain> {
  const why = await whyNotTheMachines();
  if (!why) return { cc: ['gcc'], env: process.env, origin: 'machine' };
  const ready = await cache.find('toolchain', RECIPE);
  const impossible = whyNoApt();
  if (!ready && impossible) {
    throw new VmError('HOST', `${why}, and ${impossible}: install gcc ${GCC}, make and a static C library`);
  }
  const prefix = await cache.entry(
    'toolchain',
    RECIPE,
    (draft) => progress.step(`Fetching gcc ${GCC} and make from Debian`, () => provision(draft, signal)),
    signal,
  );
  const programs = path.join(prefix, 'usr/bin');
  return {
    cc: [path.join(programs, `gcc-${GCC}`), `--sysroot=${prefix}`],
    env: { ...process.env, PATH: `${programs}${path.delimiter}${process.env.PATH ?? ''}` },
    origin: 'cache',
  };
}

/** Why the machine's own compiler is of no use; undefined when it is fine. */
export async function whyNotTheMachines(): Promise<string | undefined> {
  const folder = await mkdtemp(path.join(tmpdir(), 'virtio-misc-cc-'));
  try {
    const version = (await run('gcc', ['-dumpversion'])).trim();
    if (Number.parseInt(version, 10) !== GCC) return `the machine's gcc is version ${version} and not ${GCC}`;
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

async function provision(prefix: string, signal: AbortSignal | undefined): Promise<void> {
  await layOutPrefix(prefix);
  await Apt.use(
    prefix,
    [GUEST_SUITE],
    async (apt) => {
      const closure = await apt.closure(PACKAGES, GUEST_SUITE);
      const debs = await apt.download(closure.filter((exact) => !NOT_NEEDED.test(exact)));
      for (const deb of debs) await unpack(deb, prefix, { except: EXCEPT, signal });
    },
    signal,
  );
  await wrapPrograms(prefix, path.join(prefix, 'usr/bin'));
  await wrapPrograms(prefix, path.join(prefix, 'usr/lib/gcc'));
}
