import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Kernel } from './kernel.js';
import { type Modinfo, readModinfo } from './modinfo.js';
import { VmError } from './vm-error.js';

/** A module that comes with a kernel. */
export interface StockDriver {
  readonly modinfo: Modinfo;
  /** Unpacked. */
  readonly file: string;
}

/** The modules that a kernel comes with, by name. */
export async function stockDrivers(kernel: Kernel): Promise<ReadonlyMap<string, StockDriver>> {
  const drivers = new Map<string, StockDriver>();
  const folder = await kernel.allModules?.();
  if (folder === undefined) return drivers;
  const files = (await readdir(folder, { recursive: true })).filter((file) => file.endsWith('.ko'));
  for (const name of files.sort()) {
    const file = path.join(folder, name);
    const modinfo = readModinfo(await readFile(file));
    drivers.set(modinfo.name, { modinfo, file });
  }
  return drivers;
}

/**
 * The files of these modules and of all that they need.
 *
 * @param names - with hyphens or underscores.
 * @throws VmError `BUILD` when the kernel has none of that name.
 */
export function withNeeded(
  drivers: ReadonlyMap<string, StockDriver>,
  names: readonly string[],
  release: string,
): string[] {
  const files = new Set<string>();
  const add = (name: string): void => {
    const driver = drivers.get(name.replaceAll('-', '_'));
    if (driver === undefined)
      throw new VmError(
        'BUILD',
        `Linux ${release} has no module '${name}': vm --list-drivers lists those that it has (others come with --kernel 6.1-standard, say), and a C file is written name.c`,
      );
    if (files.has(driver.file)) return;
    files.add(driver.file);
    for (const needed of driver.modinfo.depends) add(needed);
  };
  for (const name of names) add(name);
  return [...files];
}
