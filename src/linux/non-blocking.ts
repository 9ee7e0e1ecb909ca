import { check } from './errno.js';
import { fcntl } from './libc.js';

const F_GETFL = 3;
const F_SETFL = 4;
const O_NONBLOCK = 0o4000;

/** Calls on this open file, ours and those of everybody who shares it, fail with EAGAIN instead of waiting. */
export function setNonBlocking(fd: number): void {
  const flags = check(fcntl(fd, F_GETFL, 0), 'fcntl', `read the flags of descriptor ${fd}`);
  if ((flags & O_NONBLOCK) === 0) {
    check(fcntl(fd, F_SETFL, flags | O_NONBLOCK), 'fcntl', `make descriptor ${fd} non-blocking`);
  }
}
