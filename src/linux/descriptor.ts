import { readFileSync, readlinkSync } from 'node:fs';
import { OsError } from '../transports/os-error.js';

/** What a descriptor is, as the kernel itself names it: a peer can't forge it, and no file system is asked. */
export function describeDescriptor(fd: number): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch (error) {
    const { code = 'EBADF', message } = error as NodeJS.ErrnoException;
    throw new OsError(code, 'readlink', `find out what descriptor ${fd} is: ${message}`);
  }
}

/** Paths begin with a slash, so that no file has this name. */
export function isEventFd(fd: number): boolean {
  return describeDescriptor(fd) === 'anon_inode:[eventfd]';
}

/** Tells eventfds apart, whoever made them; `undefined` before Linux 5.2. */
export function eventFdId(fd: number): string | undefined {
  return /^eventfd-id:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1];
}
