import { readdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { CHECKS, type Kernel, type KernelNeeds } from './kernel.js';
import { compileKernel, configHash, configureKernel, kernelMake } from './kernel-builder.js';
import { findLinuxSource, unpackLinuxSource } from './linux-source.js';
import type { UnpackContext } from './unpackers.js';

interface DebugKernel {
  /** For people. */
  readonly what: string;
  /** Fragments of its configuration, in `guest/linux/configs/`. */
  readonly configs: readonly string[];
  readonly needs: KernelNeeds;
}

/** Kernels that are built here, of Debian's linux-source-6.12, to see what a driver does wrong. */
export const DEBUG_KERNELS: Readonly<Record<string, DebugKernel>> = {
  debug: {
    what: 'a kernel that checks everything',
    configs: ['guest', 'debug'],
    needs: CHECKS,
  },
  'debug-rt': {
    what: 'a real-time kernel that checks locks',
    configs: ['guest', 'rt'],
    needs: { ...CHECKS, memory: 512 },
  },
};

/** What of a built tree is needed to build modules for it: the rest is a hundred times as large. */
const KEPT = /^(Makefile|Kbuild|\.config|Module\.symvers|include|scripts|arch|tools|vmlinux)$/;

/** @param name - of `DEBUG_KERNELS`. */
export async function findDebugKernel(
  name: string,
  busybox: string,
  context: UnpackContext,
): Promise<Kernel> {
  const { cache, progress, signal } = context;
  const { what, configs, needs } = DEBUG_KERNELS[name]!;
  const folder = await cache.entry(
    `linux-${name}`,
    { source: '6.12', configs: configHash(configs), version: 1 },
    async (draft) => {
      const archive = await findLinuxSource('6.12', context);
      const make = await kernelMake(draft, context);
      await progress.step('Unpacking the source of Linux 6.12', () =>
        unpackLinuxSource(archive, draft, context),
      );
      await progress.step(`Building ${what}, once (ten minutes or more)`, async (say) => {
        await configureKernel(draft, make, configs);
        await compileKernel(make, say, `-${name}`);
      });
      await trim(draft);
    },
    signal,
  );
  const release = (await readFile(path.join(folder, 'include/config/kernel.release'), 'utf8')).trim();
  return {
    release,
    id: path.basename(folder),
    vmlinux: path.join(folder, 'vmlinux'),
    headers: folder,
    busybox,
    needs,
  };
}

async function trim(tree: string): Promise<void> {
  for (const name of await readdir(tree)) {
    if (!KEPT.test(name)) await rm(path.join(tree, name), { recursive: true });
  }
  for (const [folder, kept] of [
    ['arch', /^x86$/],
    ['tools', /^(objtool|build|scripts|include|lib)$/],
  ] as const) {
    for (const name of await readdir(path.join(tree, folder))) {
      if (!kept.test(name)) await rm(path.join(tree, folder, name), { recursive: true });
    }
  }
  for (const file of await readdir(path.join(tree, 'arch'), { recursive: true })) {
    if (/\.(o|a|cmd)$/.test(file)) await rm(path.join(tree, 'arch', file));
  }
}
