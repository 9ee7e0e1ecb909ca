import { stat } from 'node:fs/promises';
import path from 'node:path';
import type { Cache } from './cache.js';
import { DEBUG_KERNELS, findDebugKernel } from './debug-kernel.js';
import type { Kernel } from './kernel.js';
import { findOwnKernel } from './own-kernel.js';
import type { Progress } from './progress.js';
import { DEFAULT_KERNEL, findStockKernel, STOCK_KERNELS } from './stock-kernel.js';
import { VmError } from './vm-error.js';

/** What `findKernel` knows by name. */
export const KERNEL_NAMES: readonly string[] = [...Object.keys(STOCK_KERNELS), ...Object.keys(DEBUG_KERNELS)];

/**
 * Finds or provisions a kernel.
 *
 * @param which - one of `KERNEL_NAMES`; or the path of a kernel image, or of a folder in which a kernel was built.
 */
export async function findKernel(
  cache: Cache,
  progress: Progress,
  signal?: AbortSignal,
  which: string = DEFAULT_KERNEL,
): Promise<Kernel> {
  const context = { cache, progress, signal };
  if (Object.hasOwn(STOCK_KERNELS, which)) return findStockKernel(which, context);
  const busybox = async (): Promise<string> => (await findStockKernel(DEFAULT_KERNEL, context)).busybox;
  if (Object.hasOwn(DEBUG_KERNELS, which)) return findDebugKernel(which, await busybox(), context);
  const found = await stat(which).catch(() => undefined);
  if (!found) {
    throw new VmError(
      'HOST',
      `there is no kernel '${which}': name a file, or one of ${KERNEL_NAMES.join(', ')}`,
    );
  }
  return findOwnKernel(path.resolve(which), found, await busybox(), context);
}
