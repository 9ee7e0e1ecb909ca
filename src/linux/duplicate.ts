import { check } from './errno.js';
import { fcntl } from './libc.js';

const F_DUPFD_CLOEXEC = 1030;

/** Another descriptor for the same open file, the caller's. @throws OsError `EBADF` or `EMFILE` */
export function duplicate(fd: number): number {
  return check(fcntl(fd, F_DUPFD_CLOEXEC, 0), 'fcntl', `duplicate descriptor ${fd}`);
}
