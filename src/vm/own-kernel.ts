import { createHash } from 'node:crypto';
import { existsSync, type Stats } from 'node:fs';
import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { CHECKS, type Kernel } from './kernel.js';
import { MODULES, unpackModules } from './stock-kernel.js';
import { type UnpackContext, unpackBytes } from './unpackers.js';
import { VmError } from './vm-error.js';
import { bzImageRelease, extractVmlinux } from './vmlinux.js';

/** A kernel of the user's: a folder in which one was built, or an image with its headers and modules where distributions have them. */
export async function findOwnKernel(
  file: string,
  found: Stats,
  busybox: string,
  context: UnpackContext,
): Promise<Kernel> {
  return found.isDirectory() ? builtKernel(file, busybox) : installedKernel(file, found, busybox, context);
}

async function builtKernel(folder: string, busybox: string): Promise<Kernel> {
  for (const needed of ['vmlinux', 'Module.symvers', 'include/config/kernel.release']) {
    if (!existsSync(path.join(folder, needed)))
      throw new VmError('HOST', `no kernel was built in ${folder}: there is no ${needed}`);
  }
  const release = (await readFile(path.join(folder, 'include/config/kernel.release'), 'utf8')).trim();
  const symbols = await readFile(path.join(folder, 'Module.symvers'));
  const config = await readFile(path.join(folder, '.config')).catch(() => '');
  const hash = createHash('sha256').update(folder).update(symbols).update(config).digest('hex').slice(0, 16);
  return {
    release,
    id: `own-${hash}`,
    vmlinux: path.join(folder, 'vmlinux'),
    headers: folder,
    busybox,
    ...(/^CONFIG_KASAN=y$/m.test(config.toString()) && { needs: CHECKS }),
  };
}

async function installedKernel(
  file: string,
  { mtimeMs, size }: Stats,
  busybox: string,
  context: UnpackContext,
): Promise<Kernel> {
  const image = await readFile(file);
  const release = bzImageRelease(image);
  const root = path.dirname(path.dirname(file));
  const folders = ['lib/modules', 'usr/lib/modules', '..'].map((name) => path.join(root, name, release));
  const installed = folders.find((folder) => existsSync(folder));
  const headers = [
    path.join(installed ?? root, 'build'),
    path.join(root, 'usr/src', `linux-headers-${release}`),
  ];
  const build = headers.find((folder) => existsSync(path.join(folder, 'Makefile')));
  if (!build)
    throw new VmError('HOST', `no headers to build modules for ${release}: neither ${headers.join(' nor ')}`);
  const folder = await context.cache.entry(
    'linux-own',
    { file, mtimeMs, size, MODULES, version: 1 },
    async (draft) => {
      const vmlinux = await extractVmlinux(image, (packing, packed) => unpackBytes(packing, packed, context));
      await writeFile(path.join(draft, 'vmlinux'), vmlinux);
      if (installed) await copyModules(path.join(installed, 'kernel'), path.join(draft, 'modules'));
      await unpackModules(path.join(draft, 'modules'), context);
    },
    context.signal,
  );
  return {
    release,
    id: path.basename(folder),
    vmlinux: path.join(folder, 'vmlinux'),
    modules: path.join(folder, 'modules'),
    ...(installed && { allModules: () => copyAll(installed, path.basename(folder), context) }),
    headers: build,
    busybox,
  };
}

/** All of an installed kernel's modules, unpacked. */
async function copyAll(installed: string, kernel: string, context: UnpackContext): Promise<string> {
  return context.cache.entry(
    'drivers',
    { kernel, version: 1 },
    async (draft) => {
      await cp(path.join(installed, 'kernel'), draft, { recursive: true });
      await unpackModules(draft, context);
    },
    context.signal,
  );
}

async function copyModules(from: string, to: string): Promise<void> {
  await mkdir(to);
  const wanted = MODULES.map(
    (pattern) => new RegExp(`^${pattern.replaceAll('.', '\\.').replaceAll('*', '.*')}$`),
  );
  for (const file of await readdir(from, { recursive: true }).catch(() => [])) {
    if (!wanted.some((pattern) => pattern.test(file)) || !/\.ko(\.xz|\.zst)?$/.test(file)) continue;
    await cp(path.join(from, file), path.join(to, path.basename(file)));
  }
}
