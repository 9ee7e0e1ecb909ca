import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Apt } from './apt.js';
import { unpack } from './deb.js';
import { LIBRARIES, layOutPrefix, wrapPrograms } from './prefix.js';
import type { Say } from './progress.js';
import { run } from './run.js';
import { GUEST_SUITE } from './stock-kernel.js';
import { findToolchain } from './toolchain.js';
import type { UnpackContext } from './unpackers.js';
import { VmError } from './vm-error.js';

/** Fragments of kernel configurations. */
const CONFIGS: string = fileURLToPath(new URL('../../../guest/linux/configs', import.meta.url));

/** What a kernel's build takes besides a compiler: two parsers' generators, a calculator, and a library for its tools. */
const PACKAGES = ['bison', 'flex', 'm4', 'bc', 'libelf-dev', 'zlib1g-dev'];
const NEEDED = /^(bison|flex|m4|bc|libelf-dev|zlib1g-dev|libelf1|zlib1g|libc6|libreadline8|libtinfo6)=/;
const RECIPE = { GUEST_SUITE, PACKAGES, version: 1 };

/** Compiled files between two lines of progress. */
const EVERY = 100;

/** Hash over the fragments of these names: what a built kernel depends on. */
export function configHash(names: readonly string[]): string {
  const hash = createHash('sha256');
  for (const file of readdirSync(CONFIGS).sort()) {
    if (names.includes(path.basename(file, '.config'))) hash.update(readFileSync(path.join(CONFIGS, file)));
  }
  return hash.digest('hex');
}

/** Runs make in a kernel's source tree, with all that it takes; `log` gets what it says. */
export type Make = (args: readonly string[], log?: (line: string) => void) => Promise<void>;

/** Makes ready to build in the tree, with Debian 12's compiler. */
export async function kernelMake(tree: string, context: UnpackContext): Promise<Make> {
  const { cache, progress, signal } = context;
  const toolchain = await findToolchain(cache, progress, signal);
  const prefix = await cache.entry(
    'kernel-tools',
    RECIPE,
    (draft) => progress.step('Fetching what builds kernels from Debian', () => provision(draft, signal)),
    signal,
  );
  const at = (name: string): string => path.join(prefix, name);
  const env = {
    ...toolchain.env,
    LC_ALL: 'C.UTF-8',
    PATH: `${at('usr/bin')}${path.delimiter}${toolchain.env.PATH ?? ''}`,
    M4: at('usr/bin/m4'),
    BISON_PKGDATADIR: at('usr/share/bison'),
    KBUILD_BUILD_TIMESTAMP: '@0',
    KBUILD_BUILD_USER: 'virtio-misc',
    KBUILD_BUILD_HOST: 'virtio-misc',
  };
  const cc = toolchain.cc.join(' ');
  const fixed = [
    ...['-C', tree, `-j${availableParallelism()}`, `CC=${cc}`, `HOSTCC=${cc}`],
    // Programs of the build that need no libraries of whoever runs them.
    'HOSTLDFLAGS=-static',
    `LIBELF_FLAGS=-I${at('usr/include')}`,
    `LIBELF_LIBS=${at(`${LIBRARIES}/libelf.a`)} ${at(`${LIBRARIES}/libz.a`)}`,
  ];
  return (args, log) =>
    // It takes long: whoever works here meanwhile comes first.
    run('sh', ['-c', 'exec nice -n 19 make "$@" 2>&1', 'make', ...fixed, ...args], {
      env,
      signal,
      code: 'BUILD',
      ...(log && { onLine: log }),
    }).then(() => {});
}

/** Configures a tree: tinyconfig and fragments over it. A line of a fragment that does not hold in the end is an error. */
export async function configureKernel(tree: string, make: Make, names: readonly string[]): Promise<void> {
  await make(['-s', 'tinyconfig']);
  const wanted: string[] = [];
  for (const name of names) {
    const text = await readFile(path.join(CONFIGS, `${name}.config`), 'utf8');
    wanted.push(...text.split('\n').filter((line) => line.startsWith('CONFIG_')));
  }
  const config = path.join(tree, '.config');
  const settings = new Map(wanted.map((line) => line.split('=', 2) as [string, string]));
  const kept = (await readFile(config, 'utf8'))
    .split('\n')
    .filter((line) => !settings.has(/^(?:# )?(CONFIG_\w+)/.exec(line)?.[1] ?? ''));
  const lines = [...settings].map(([name, value]) =>
    value === 'n' ? `# ${name} is not set` : `${name}=${value}`,
  );
  await writeFile(config, `${[...kept, ...lines].join('\n')}\n`);
  await make(['-s', 'olddefconfig']);
  const made = (await readFile(config, 'utf8')).split('\n');
  const unlike = [...settings].filter(([name, value]) =>
    value === 'n'
      ? made.some((line) => line.startsWith(`${name}=`) && line !== `${name}=n`)
      : !made.includes(`${name}=${value}`),
  );
  if (unlike.length > 0) {
    const lines = unlike.map((pair) => pair.join('='));
    throw new VmError('BUILD', `this Linux can't be configured with ${lines.join(', ')}`);
  }
}

/** Builds vmlinux and the modules, and tells how many files are compiled. */
export async function compileKernel(make: Make, say: Say, localVersion: string): Promise<void> {
  let files = 0;
  await make([`LOCALVERSION=${localVersion}`, 'vmlinux', 'modules'], (line) => {
    if (/^ +(CC|AS) /.test(line) && ++files % EVERY === 0) say(`${files} files compiled`);
  });
}

async function provision(prefix: string, signal: AbortSignal | undefined): Promise<void> {
  await layOutPrefix(prefix);
  await Apt.use(
    prefix,
    [GUEST_SUITE],
    async (apt) => {
      const closure = await apt.closure(PACKAGES, GUEST_SUITE);
      const debs = await apt.download(closure.filter((exact) => NEEDED.test(exact)));
      for (const deb of debs)
        await unpack(deb, prefix, { except: ['./usr/share/doc/*', './usr/share/locale/*'], signal });
    },
    signal,
  );
  await wrapPrograms(prefix, path.join(prefix, 'usr/bin'));
}
