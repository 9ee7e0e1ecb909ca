import { fstatSync, readFileSync, statfsSync } from 'node:fs';
import { OsError } from '../transports/os-error.js';
import { describeDescriptor } from './descriptor.js';
import { fcntl, getpagesize, madvise } from './libc.js';

const F_ADD_SEALS = 1033;
const F_GET_SEALS = 1034;
const F_SEAL_SHRINK = 0x2;

const HUGETLBFS_MAGIC = 0x958458f6;

/** Linux 5.14: touches pages for reading. */
export const MADV_POPULATE_READ = 22;
/** Linux 5.14: touches pages for writing, and says where a touch would be a SIGBUS. */
export const MADV_POPULATE_WRITE = 23;

/** A page of at most so many bytes can be zeroed while others wait. */
const LARGE_PAGE = 32 * 2 ** 20;

/** What is known of a file before a byte of it is touched. */
export interface SharedFile {
  /** Which file it is: two descriptors with the same are of one file. */
  readonly identity: string;
  /** Bytes that are mapped as one or not at all. */
  readonly page: number;
  /** Huge pages are reserved by mapping them, and mapped only when they can be. */
  readonly huge: boolean;
  /** Whether its file system may have no page left when one is touched for the first time: then a touch must ask before. */
  readonly scarce: boolean;
}

/**
 * Looks at a file that a peer wants to share, without touching it and without a call that some server may take its time over: only memory
 * is taken, a memfd or a file of tmpfs or hugetlbfs.
 *
 * If it can be sealed against shrinking it is. One that can't, a file of a mounted tmpfs or hugetlbfs, is a danger: when the peer truncates it,
 * or makes a hole that can't be filled again, the next access is a SIGBUS, which nobody survives.
 *
 * @throws OsError `ENODEV` when it is something else, `ENXIO` when it has no such bytes, `ENOMEM` when it can't be had safely.
 */
export function inspectSharedFile(fd: number, offset: number, size: number, most: number): SharedFile {
  if (fcntl(fd, F_GET_SEALS, 0) === -1) {
    const what = `${describeDescriptor(fd)}: it is no memory (a memfd, or a file on tmpfs or hugetlbfs)`;
    throw new OsError('ENODEV', 'fcntl', `map ${what}`);
  }
  // Refused where its seals are sealed. Before the size is looked at, which then stays.
  fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK);
  const file = fstatSync(fd);
  const aligned = offset >= 0 && offset % 4 === 0;
  if (!(Number.isInteger(size) && size > 0 && size <= most && aligned && offset + size <= file.size)) {
    const text = `map ${size} bytes from ${offset} of a file of ${file.size} bytes`;
    throw new OsError('ENXIO', 'fstat', text);
  }
  const system = statfsSync(`/proc/self/fd/${fd}`);
  const huge = system.type === HUGETLBFS_MAGIC;
  // A huge page is mapped whole or not at all; st_blksize is its size there.
  const page = huge ? file.blksize : getpagesize();
  // Only the kernel's own tmpfs, where memfds are, has no size.
  const scarce = huge || system.blocks > 0 || commitsStrictly();
  const allocated = file.blocks * 512 >= file.size;
  if (scarce && !allocated && (page > LARGE_PAGE || !canPopulate())) {
    const text = `map a file of ${file.size} bytes of which ${file.blocks * 512} are allocated: allocate all of it first`;
    throw new OsError('ENOMEM', 'fstat', text);
  }
  return { identity: `${file.dev}:${file.ino}`, page, huge, scarce };
}

/** Whether the kernel counts every page of shared memory, and may refuse one (vm.overcommit_memory = 2). */
function commitsStrictly(): boolean {
  try {
    return readFileSync('/proc/sys/vm/overcommit_memory', 'latin1').startsWith('2');
  } catch {
    return true;
  }
}

function canPopulate(): boolean {
  return madvise(0, 0, MADV_POPULATE_WRITE) === 0;
}
