import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Cache } from './cache.js';
import { findKernel } from './find-kernel.js';
import { GUEST_FSTAB, GUEST_INIT } from './guest-init.js';
import { makeInitramfs } from './initramfs.js';
import type { KernelNeeds } from './kernel.js';
import { buildGuestCode, type GuestCodeOptions } from './modules.js';
import { type Progress, silent } from './progress.js';
import { stockDrivers, withNeeded } from './stock-drivers.js';

/** What `bootGuest` boots. The files are in the cache and stay there while they are used. */
export interface GuestImage {
  readonly vmlinux: string;
  readonly initramfs: string;
  /** Such as `6.1.0-50-cloud-amd64`. */
  readonly release: string;
  /** What the compiler said when the modules and programs were built. */
  readonly buildLog: string;
  /** What it takes to boot it, when that is more than usual. */
  readonly needs?: KernelNeeds;
}

export interface PrepareOptions extends GuestCodeOptions {
  readonly cache?: Cache;
  readonly progress?: Progress;
  readonly signal?: AbortSignal | undefined;
  /** A name or a path, see `findKernel`; Debian 12's when absent. */
  readonly kernel?: string | undefined;
  /** More of the modules that come with the kernel, by name. What they need comes with them. */
  readonly drivers?: readonly string[];
}

/**
 * Makes a guest: a kernel, our modules and programs (and those named), and an initramfs around them. All of it comes
 * from the cache when nothing changed.
 *
 * @throws VmError `HOST` or `DOWNLOAD` when the kernel can't be had, `BUILD` with the compiler's words.
 */
export async function prepareGuest({
  cache = Cache.ofUser(),
  progress = silent,
  signal,
  kernel: which,
  drivers = [],
  ...code
}: PrepareOptions = {}): Promise<GuestImage> {
  const kernel = await findKernel(cache, progress, signal, which);
  // Before the compiler has its turn: a name that is wrong is told at once.
  const more = drivers.length > 0 ? withNeeded(await stockDrivers(kernel), drivers, kernel.release) : [];
  const built = await buildGuestCode(kernel, code, { cache, progress, signal });
  const buildLog = await readFile(built.log, 'utf8');
  const init = createHash('sha256')
    .update(GUEST_INIT + GUEST_FSTAB)
    .digest('hex');
  const recipe = { kernel: kernel.id, built: path.basename(path.dirname(built.log)), init, more, version: 3 };
  const folder = await cache.entry(
    'image',
    recipe,
    async (draft) => writeFile(path.join(draft, 'initramfs'), await makeInitramfs(kernel, built, more)),
    signal,
  );
  return {
    vmlinux: kernel.vmlinux,
    initramfs: path.join(folder, 'initramfs'),
    release: kernel.release,
    buildLog,
    ...(kernel.needs && { needs: kernel.needs }),
  };
}
