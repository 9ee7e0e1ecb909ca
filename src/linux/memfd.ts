import { closeFd } from './close-fd.js';
import { check } from './errno.js';
import { fcntl, ftruncate, memfd_create } from './libc.js';
import { NativeBuffer } from './native-buffer.js';

const MFD_CLOEXEC = 0x1;
const MFD_ALLOW_SEALING = 0x2;
const F_ADD_SEALS = 1033;
const F_SEAL_SHRINK = 0x2;
const F_SEAL_GROW = 0x4;

/**
 * Makes zeroed memory that can be passed on as a file of `size` bytes for ever.
 *
 * @param name - for /proc: at most 249 bytes.
 * @returns its descriptor, the caller's.
 */
export function createMemfd(name: string, size: number): number {
  const bytes = new TextEncoder().encode(name);
  const text = new NativeBuffer(bytes.length + 1);
  text.bytes.set(bytes);
  const tried = `make ${size} bytes of shared memory`;
  const fd = check(memfd_create(text.address, MFD_CLOEXEC | MFD_ALLOW_SEALING), 'memfd_create', tried);
  try {
    check(ftruncate(fd, size), 'ftruncate', tried);
    check(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 'fcntl', tried);
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  return fd;
}
