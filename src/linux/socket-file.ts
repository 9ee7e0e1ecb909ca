import { lstatSync, rmSync } from 'node:fs';
import { resolve } from 'node:path';
import { OsError } from '../transports/os-error.js';
import { closeFd } from './close-fd.js';
import { check, lastError } from './errno.js';
import { withFileLock } from './file-lock.js';
import { bind, connect } from './libc.js';
import { socketAddress } from './socket-address.js';
import { openSocket, SOCK_DGRAM } from './unix-socket.js';

/** The file that a socket of ours is bound to. */
export class SocketFile {
  // The working directory may be another when it is removed.
  readonly #path: string;
  readonly #identity: string | undefined;

  private constructor(path: string) {
    this.#path = resolve(path);
    this.#identity = identity(this.#path);
  }

  /**
   * Binds `fd` to `path`, where a socket file that nobody listens at may be in the way.
   *
   * @throws OsError `EADDRINUSE` when somebody listens there, or the file is no socket.
   */
  static bind(fd: number, path: string): SocketFile {
    const address = socketAddress(path, 'bind');
    let result = bind(fd, address.address, address.bytes.length);
    if (result === -1 && lastError() === 'EADDRINUSE') {
      // Of several that find it stale, one must not remove what another has put there meanwhile.
      withFileLock(`${resolve(path)}.lock`, () => {
        removeStale(path);
        result = bind(fd, address.address, address.bytes.length);
        check(result, 'bind', `listen at ${path}`);
      });
    }
    check(result, 'bind', `listen at ${path}`);
    return new SocketFile(path);
  }

  /**
   * Removes the file, if it is still ours. To be called while the socket is open: that keeps the inode, so that its
   * number can't be another file's.
   */
  remove(): void {
    if (this.#identity !== undefined && identity(this.#path) === this.#identity)
      rmSync(this.#path, { force: true });
  }
}

/** @throws OsError `EADDRINUSE` when the file at `path` is in use, or is no socket. */
function removeStale(path: string): void {
  const file = identity(path);
  if (file === undefined) return;
  if (!lstatSync(path).isSocket()) throw inUse(path, 'the file there is no socket');
  if (isInUse(path)) throw inUse(path, 'another process has its socket there');
  if (identity(path) === file) rmSync(path, { force: true });
}

/**
 * Whether the process that made the socket file still has its socket. Asked with a datagram socket, which is turned away
 * for its type: a process that listens there does not hear of it.
 */
function isInUse(path: string): boolean {
  const probe = openSocket(SOCK_DGRAM);
  try {
    const address = socketAddress(path, 'connect');
    if (connect(probe, address.address, address.bytes.length) === 0) return true;
    const code = lastError();
    if (code !== 'ECONNREFUSED' && code !== 'EPROTOTYPE') {
      throw new OsError(code, 'connect', `find out whether ${path} is in use`);
    }
    return code === 'EPROTOTYPE';
  } finally {
    closeFd(probe);
  }
}

function inUse(path: string, reason: string): OsError {
  return new OsError('EADDRINUSE', 'bind', `listen at ${path}: ${reason}`);
}

/** Which file is there, or `undefined` for none. */
function identity(path: string): string | undefined {
  const stat = lstatSync(path, { throwIfNoEntry: false, bigint: true });
  return stat && `${stat.dev}:${stat.ino}`;
}
