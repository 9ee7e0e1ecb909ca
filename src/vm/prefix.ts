import { lstat, mkdir, open, readdir, rename, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';

/** Where Debian keeps the libraries of amd64, from the root of a system. */
export const LIBRARIES = 'usr/lib/x86_64-linux-gnu';
const LOADER = `${LIBRARIES}/ld-linux-x86-64.so.2`;

/** The command that runs a program unpacked in `prefix` with the loader and libraries unpacked there, not the machine's. */
export function prefixCommand(prefix: string, program: string): string[] {
  const at = (name: string): string => path.join(prefix, name);
  return [at(LOADER), '--library-path', at(LIBRARIES), '--argv0', path.basename(program), at(program)];
}

/** Lays out an empty prefix with / and /usr merged, so that packages of either kind meet in one place. */
export async function layOutPrefix(prefix: string): Promise<void> {
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) {
    await mkdir(path.join(prefix, 'usr', name), { recursive: true });
    await symlink(path.join('usr', name), path.join(prefix, name));
  }
}

/**
 * Puts a script in the place of each dynamically linked program below `folder`, which runs it with the prefix's own loader
 * and libraries. For programs that start each other by path, as a compiler does.
 */
export async function wrapPrograms(prefix: string, folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const file = path.join(folder, entry.name);
    if (entry.isDirectory()) await wrapPrograms(prefix, file);
    else if (entry.isFile() && (await isProgram(file))) await wrap(prefix, file);
  }
}

async function wrap(prefix: string, file: string): Promise<void> {
  const up = path.relative(path.dirname(file), prefix);
  await rename(file, `${file}.elf`);
  // Nothing but the shell's own means: this runs for each compiler pass.
  const script = [
    '#!/bin/sh',
    `here=\${0%/*} root=\${0%/*}/${up}`,
    `exec "$root/${LOADER}" --library-path "$root/${LIBRARIES}" --argv0 "$0" "$here/${path.basename(file)}.elf" "$@"`,
    '',
  ];
  await writeFile(file, script.join('\n'), { mode: 0o755 });
}

/** An executable ELF file with an interpreter, which shared libraries (mostly) and static programs have not. */
async function isProgram(file: string): Promise<boolean> {
  if (!((await lstat(file)).mode & 0o100)) return false;
  const handle = await open(file);
  try {
    const head = Buffer.alloc(4096);
    const { bytesRead } = await handle.read(head, 0, head.length, 0);
    if (bytesRead < 64 || head.readUInt32BE(0) !== 0x7f454c46) return false;
    const [table, size, count] = [
      Number(head.readBigUInt64LE(32)),
      head.readUInt16LE(54),
      head.readUInt16LE(56),
    ];
    for (let at = table; at < table + size * count && at + size <= bytesRead; at += size) {
      if (head.readUInt32LE(at) === PT_INTERP) return true;
    }
    return false;
  } finally {
    await handle.close();
  }
}

/** Program header type of an interpreter's name (ELF). */
const PT_INTERP = 3;
