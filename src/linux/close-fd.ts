import { OsError } from '../transports/os-error.js';
import { lastError } from './errno.js';
import { close } from './libc.js';

/**
 * Closes a descriptor.
 *
 * @throws OsError `EBADF` when it is not open: somebody closed it twice, and the next time it may be somebody else's.
 */
export function closeFd(fd: number): void {
  // All other errors, EINTR among them, come after the descriptor is gone.
  if (close(fd) === -1 && lastError() === 'EBADF')
    throw new OsError('EBADF', 'close', `close descriptor ${fd}`);
}
