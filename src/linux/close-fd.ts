import { close } from './libc.js';
import { lastError, OsFailure } from './os-failure.js';

/**
 * Closes a descriptor.
 *
 * @throws OsFailure `EBADF` when it is not open: somebody closed it twice, and the next time it may be somebody else's.
 */
export function closeFd(fd: number): void {
  // All other errors, EINTR among them, come after the descriptor is gone.
  if (close(fd) === -1 && lastError() === 'EBADF')
    throw new OsFailure('EBADF', 'close', `close descriptor ${fd}`);
}
