import { OsError } from '../transports/os-error.js';
import { closeFd } from './close-fd.js';
import { check } from './errno.js';
import { connect, getpeername, getsockopt, socket, socketpair } from './libc.js';
import { NativeBuffer } from './native-buffer.js';
import { AF_UNIX, abstractAddress, socketAddress } from './socket-address.js';

export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_TYPE = 3;
const SO_PEERCRED = 17;
const SO_DOMAIN = 39;
/** What a socket without a name has for one. */
const ADDRESS_FAMILY_SIZE = 2;

/** A unix socket that is neither bound nor connected. */
export function openSocket(type: typeof SOCK_STREAM | typeof SOCK_DGRAM): number {
  return check(socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), 'socket', 'make a unix socket');
}

/**
 * A socket connected to whoever listens at `path`.
 *
 * @throws OsError `ENOENT` or `ECONNREFUSED` when nobody does, `EAGAIN` when too many wait to be accepted.
 */
export function connectSocket(path: string): number {
  return connectTo(socketAddress(path, 'connect'), path);
}

/** The same, at a name that is no path (unix(7), "abstract"). */
export function connectAbstract(name: string): number {
  return connectTo(abstractAddress(name), `@${name}`);
}

function connectTo(address: NativeBuffer, where: string): number {
  const fd = openSocket(SOCK_STREAM);
  try {
    check(connect(fd, address.address, address.bytes.length), 'connect', `connect to ${where}`);
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  return fd;
}

/** Who is at the other end of a connected socket: who listened there, or who connected. */
export function peerOf(fd: number): { readonly pid: number; readonly uid: number } {
  const credentials = new NativeBuffer(12);
  const size = new NativeBuffer(4);
  size.data.setUint32(0, credentials.bytes.length, true);
  check(
    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, credentials.address, size.address),
    'getsockopt',
    'find out who is at the other end of a socket',
  );
  return { pid: credentials.data.getInt32(0, true), uid: credentials.data.getUint32(4, true) };
}

/** Two sockets connected to each other; both may wait, as one of them is for somebody else. */
export function pairSockets(): [number, number] {
  const fds = new NativeBuffer(8);
  check(
    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.address),
    'socketpair',
    'make a pair of sockets',
  );
  return [fds.data.getInt32(0, true), fds.data.getInt32(4, true)];
}

/**
 * Makes sure that a descriptor from elsewhere is a connected unix stream socket.
 *
 * @throws OsError `ENOTSOCK`, `EPROTOTYPE` or `ENOTCONN` when it is not.
 */
export function expectConnected(fd: number): void {
  peerNameSize(fd);
}

/**
 * Makes sure that a descriptor from a peer is one of a connected pair, and not an end of a connection that somebody listened
 * for: were it one to this process, to hold it would keep that connection from ever being seen to end.
 *
 * @throws OsError as `expectConnected`, and `EINVAL` when its other end has a name.
 */
export function expectPaired(fd: number): void {
  if (peerNameSize(fd) > ADDRESS_FAMILY_SIZE) {
    const tried = `use descriptor ${fd} as a channel: it is not one of a pair, but connected to a listener`;
    throw new OsError('EINVAL', 'getpeername', tried);
  }
}

function peerNameSize(fd: number): number {
  expectUnixStream(fd);
  const address = new NativeBuffer(128);
  const size = new NativeBuffer(4);
  size.data.setUint32(0, address.bytes.length, true);
  check(getpeername(fd, address.address, size.address), 'getpeername', `use descriptor ${fd} as a channel`);
  return size.data.getUint32(0, true);
}

/** @throws OsError `ENOTSOCK` or `EPROTOTYPE` */
export function expectUnixStream(fd: number): void {
  if (socketOption(fd, SO_DOMAIN) !== AF_UNIX || socketOption(fd, SO_TYPE) !== SOCK_STREAM) {
    throw new OsError('EPROTOTYPE', 'getsockopt', `use descriptor ${fd} as a unix stream socket`);
  }
}

/** An int option of the SOL_SOCKET level. */
export function socketOption(fd: number, option: number): number {
  const value = new NativeBuffer(4);
  const size = new NativeBuffer(4);
  size.data.setUint32(0, 4, true);
  check(
    getsockopt(fd, SOL_SOCKET, option, value.address, size.address),
    'getsockopt',
    `use descriptor ${fd} as a socket`,
  );
  return value.data.getInt32(0, true);
}
