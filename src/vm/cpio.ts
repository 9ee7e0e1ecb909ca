/** One thing in an archive. Paths are relative to the root of the guest and do not begin with a slash. */
export type CpioEntry =
  | { readonly path: string; readonly folder: true }
  | { readonly path: string; readonly link: string }
  | { readonly path: string; readonly content: Uint8Array; readonly mode: number };

const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;

/**
 * Writes a cpio archive of the `newc` format (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).
 * The kernel unpacks archives one behind the other, so several make one initramfs; a later file replaces an earlier one.
 * Owner 0, no times: the same entries always give the same bytes.
 */
export function writeCpio(entries: readonly CpioEntry[]): Buffer {
  const parts: Uint8Array[] = [];
  const put = (path: string, mode: number, content: Uint8Array, inode: number): void => {
    const name = Buffer.from(`${path}\0`);
    const links = mode & S_IFDIR && !(mode & S_IFREG) ? 2 : 1;
    // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
    const fields = [inode, mode, 0, 0, links, 0, content.length, 0, 0, 0, 0, name.length, 0];
    const header = Buffer.from(
      `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`,
    );
    parts.push(header, name, padding(header.length + name.length), content, padding(content.length));
  };
  for (const [index, entry] of entries.entries()) {
    if ('folder' in entry) put(entry.path, S_IFDIR | 0o755, Buffer.alloc(0), index + 1);
    else if ('link' in entry) put(entry.path, S_IFLNK | 0o777, Buffer.from(entry.link), index + 1);
    else put(entry.path, S_IFREG | (entry.mode & 0o7777), entry.content, index + 1);
  }
  put('TRAILER!!!', 0, Buffer.alloc(0), 0);
  return Buffer.concat(parts);
}

/** Names and contents begin at multiples of four bytes. */
const padding = (length: number): Uint8Array => new Uint8Array(-length & 3);

/** The folders above a path, outermost first: the kernel makes none by itself. */
export function foldersAbove(path: string): string[] {
  const names = path.split('/').slice(0, -1);
  return names.map((_, index) => names.slice(0, index + 1).join('/'));
}
