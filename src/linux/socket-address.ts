import { OsError } from '../transports/os-error.js';
import { NativeBuffer } from './native-buffer.js';

export const AF_UNIX = 1;

/** `sun_path` has 108 bytes, and the path ends with a zero. */
const MAX_PATH = 107;

/** One byte before the name, which is no path: a zero. Such a socket is in no file system, and gone with its last descriptor. */
export function abstractAddress(name: string): NativeBuffer {
  const bytes = new TextEncoder().encode(name);
  if (bytes.length > MAX_PATH) throw new TypeError(`${JSON.stringify(name)} is too long for a socket's name`);
  const address = new NativeBuffer(2 + 1 + bytes.length);
  address.data.setUint16(0, AF_UNIX, true);
  address.bytes.set(bytes, 3);
  return address;
}

/**
 * A unix socket's address, `struct sockaddr_un`.
 *
 * @param syscall - what it is for.
 * @throws TypeError for a path that can't be one.
 * @throws OsError `ENAMETOOLONG` for more than 107 bytes.
 */
export function socketAddress(path: string, syscall: 'bind' | 'connect'): NativeBuffer {
  if (path === '' || path.includes('\0')) throw new TypeError(`${JSON.stringify(path)} is no socket path`);
  const bytes = new TextEncoder().encode(path);
  if (bytes.length > MAX_PATH) {
    throw new OsError(
      'ENAMETOOLONG',
      syscall,
      `use ${path} as a socket: its path has ${bytes.length} bytes and may have ${MAX_PATH}`,
    );
  }
  const address = new NativeBuffer(2 + bytes.length + 1);
  address.data.setUint16(0, AF_UNIX, true);
  address.bytes.set(bytes, 2);
  return address;
}
