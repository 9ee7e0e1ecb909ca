import { printable } from '../lines/printable.js';
import { Cache } from '../vm/cache.js';
import { findKernel } from '../vm/find-kernel.js';
import { progressTo } from '../vm/progress.js';
import { stockDrivers } from '../vm/stock-drivers.js';
import { UsageError } from './usage-error.js';

/** Prints the modules that come with a kernel, with the virtio devices that they drive. */
export async function listDrivers(kernel: string): Promise<void> {
  const progress = progressTo(process.stderr);
  const drivers = await stockDrivers(await findKernel(Cache.ofUser(), progress, undefined, kernel));
  if (drivers.size === 0) throw new UsageError(`the kernel '${kernel}' comes with no modules`);
  for (const { modinfo } of drivers.values()) {
    const ids = modinfo.aliases.flatMap((alias) => /^virtio:d0*([0-9A-F]+)v/.exec(alias)?.[1] ?? []);
    const devices = ids.map((id) => Number.parseInt(id, 16)).join(', ');
    const what = printable(modinfo.description.split('\n')[0]!);
    console.log(`${modinfo.name.padEnd(32)} ${what}${devices && ` (virtio id ${devices})`}`);
  }
}
