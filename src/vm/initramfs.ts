import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { type CpioEntry, foldersAbove, writeCpio } from './cpio.js';
import { GUEST_FSTAB, GUEST_INIT } from './guest-init.js';
import type { Kernel } from './kernel.js';
import { type Modinfo, moduleTables, readModinfo } from './modinfo.js';
import type { GuestCode } from './modules.js';
import { run } from './run.js';
import { VmError } from './vm-error.js';

/** What the guest's /dev has besides its devices. */
const DEV_FOLDERS = ['lib/dev', 'lib/dev/pts', 'lib/dev/shm'] as const;

/** A file to put into the guest. */
export interface GuestFile {
  /** Where in the guest; absolute. */
  readonly path: string;
  /** What is in it, or the file on this machine to copy. */
  readonly content: string | Uint8Array | { readonly source: string };
  /** Permission bits; 0o644 when absent. */
  readonly mode?: number;
}

/** The guest's whole file system: busybox, our init, stock modules, built modules and programs. Not compressed: that costs more than it saves. */
export async function makeInitramfs(
  kernel: Kernel,
  code: GuestCode | undefined,
  more: readonly string[] = [],
): Promise<Buffer> {
  const file = async (from: string, to: string): Promise<CpioEntry> => ({
    path: to,
    content: await readFile(from),
    mode: 0o755,
  });
  const entries: CpioEntry[] = [
    ...['bin', 'dev', 'proc', 'sys', 'run', 'tmp', 'root', 'etc', 'lib', 'mnt', ...DEV_FOLDERS].map(
      (name) => ({ path: name, folder: true }) as const,
    ),
    { path: 'init', content: Buffer.from(GUEST_INIT), mode: 0o755 },
    { path: 'etc/fstab', content: Buffer.from(GUEST_FSTAB), mode: 0o644 },
    // What the timer device was called before.
    ...[0, 1, 2, 3].map((n) => ({ path: `lib/dev/virtio_misc_timer${n}`, link: `virtio-timer${n}` })),
    await file(kernel.busybox, 'bin/busybox'),
  ];
  const applets = (await run(kernel.busybox, ['--list'])).trim().split('\n');
  entries.push(
    ...applets.filter((name) => name !== 'busybox').map((name) => ({ path: `bin/${name}`, link: 'busybox' })),
  );
  // Where scripts and busybox's own defaults look for programs.
  for (const name of ['sbin', 'usr']) entries.push({ path: name, link: name === 'usr' ? '.' : 'bin' });

  const own = code ? await filesIn(code.modules) : [];
  const usual = kernel.modules ? await filesIn(kernel.modules) : [];
  const named = new Set(usual.map((file) => path.basename(file)));
  const stock = [...usual, ...more.filter((file) => !named.has(path.basename(file)))];
  entries.push(...(await moduleEntries(kernel.release, stock, own)));
  for (const program of code ? await filesIn(code.programs) : []) {
    const name = path.basename(program);
    entries.push(await file(program, `bin/${name}`), { path: `root/${name}`, link: `/bin/${name}` });
  }
  return writeCpio(entries);
}

async function moduleEntries(
  release: string,
  stock: readonly string[],
  own: readonly string[],
): Promise<CpioEntry[]> {
  const folder = `lib/modules/${release}`;
  const entries: CpioEntry[] = [...foldersAbove(`${folder}/x`).slice(1)].map((name) => ({
    path: name,
    folder: true,
  }));
  const found = async (files: readonly string[]): Promise<{ content: Buffer; modinfo: Modinfo }[]> =>
    Promise.all(
      files.map(async (file) => {
        const content = await readFile(file);
        return { content, modinfo: readModinfo(content) };
      }),
    );
  const loadable = withoutOrphans(await found(stock.filter((file) => file.endsWith('.ko'))));
  const all = [...loadable, ...(await found(own))];
  for (const { content, modinfo } of all)
    entries.push({ path: `${folder}/${modinfo.name}.ko`, content, mode: 0o644 });
  const modules = all.map(({ modinfo }) => modinfo);
  let tables: { dep: string; alias: string };
  try {
    tables = moduleTables(modules);
  } catch (error) {
    throw new VmError('BUILD', error instanceof Error ? error.message : String(error));
  }
  entries.push({ path: `${folder}/modules.dep`, content: Buffer.from(tables.dep), mode: 0o644 });
  entries.push({ path: `${folder}/modules.alias`, content: Buffer.from(tables.alias), mode: 0o644 });
  return entries;
}

/** An archive to append to the initramfs, with files of the user's. */
export async function makeFileSegment(files: readonly GuestFile[]): Promise<Buffer> {
  const folders = new Set<string>();
  const entries: CpioEntry[] = [];
  for (const { path: to, content, mode = 0o644 } of files) {
    if (!path.isAbsolute(to) || path.normalize(to) !== to || to.endsWith('/')) {
      throw new RangeError(`${to}: not an absolute path of a file in the guest`);
    }
    const bytes =
      typeof content === 'string'
        ? Buffer.from(content)
        : content instanceof Uint8Array
          ? content
          : await readSource(content.source);
    for (const folder of foldersAbove(to.slice(1))) folders.add(folder);
    entries.push({ path: to.slice(1), content: bytes, mode });
  }
  return writeCpio([...[...folders].map((name) => ({ path: name, folder: true }) as const), ...entries]);
}

function readSource(source: string): Promise<Buffer> {
  return readFile(source).catch((error: Error) => {
    throw new VmError('HOST', `no such file for the guest: ${error.message}`);
  });
}

async function filesIn(folder: string): Promise<string[]> {
  const found = await readdir(folder, { recursive: true, withFileTypes: true });
  return found
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))
    .sort();
}

/** The modules that have all others that they need; what a kernel's own ones need differs from kernel to kernel. */
function withoutOrphans<M extends { modinfo: Modinfo }>(modules: readonly M[]): readonly M[] {
  const names = new Set(modules.map(({ modinfo }) => modinfo.name));
  const kept = modules.filter(({ modinfo }) => modinfo.depends.every((name) => names.has(name)));
  return kept.length === modules.length ? kept : withoutOrphans(kept);
}
