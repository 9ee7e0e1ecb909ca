import { OsError } from '../transports/os-error.js';
import { closeStranger } from './close-stranger.js';
import { lastError } from './errno.js';
import { recvmsg, sendmsg } from './libc.js';
import { NativeBuffer } from './native-buffer.js';

/** The most descriptors with one message. */
export const MAX_FDS = 64;
/** The kernel's own limit. Those that there is no room for it closes itself, in our call, however long that takes. */
const SCM_MAX_FD = 253;

const CHUNK = 64 * 1024;

const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
/** Bytes that are taken out of a connection that ends: who sends more is at fault. */
const DRAINED = 1 << 20;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x4000_0000;
const MSG_CTRUNC = 0x8;

// struct cmsghdr {size_t len; int level, type;}, then the descriptors, padded to 8 bytes.
const CMSG_HEADER = 16;
// struct msghdr, the same bytes with glibc and musl.
const MSG_IOV = 16;
const MSG_IOVLEN = 24;
const MSG_CONTROL = 32;
const MSG_CONTROLLEN = 40;
const MSG_FLAGS = 48;
const MSGHDR = 56;
const IOVEC = 16;

/** A message header that points at one piece of memory and at room for descriptors. */
class Message {
  readonly header = new NativeBuffer(MSGHDR);
  readonly vector = new NativeBuffer(IOVEC);
  readonly control: NativeBuffer;

  /** @param most - descriptors that there is room for. */
  constructor(most: number) {
    this.control = new NativeBuffer(CMSG_HEADER + most * 4);
    this.header.setLong(MSG_IOV, this.vector.address);
    this.header.setLong(MSG_IOVLEN, 1);
  }

  point(memory: NativeBuffer, size: number): void {
    this.vector.setLong(0, memory.address);
    this.vector.setLong(8, size);
  }

  /** @param size - bytes of `control` in use. */
  attach(size: number): void {
    this.header.setLong(MSG_CONTROL, size === 0 ? 0 : this.control.address);
    this.header.setLong(MSG_CONTROLLEN, size);
  }
}

// One of each for the process: both are filled and used up within one call.
const outgoing = new Message(MAX_FDS);
const incoming = new Message(SCM_MAX_FD);
const staged = new NativeBuffer(CHUNK);

/**
 * Writes as many bytes from `start` as the socket takes without waiting, the descriptors with the first of them.
 *
 * @returns how many it took: 0 when it is full.
 * @throws OsError `EPIPE` or `ECONNRESET` when the other side is gone, `EBADF` for a descriptor that is not open.
 */
export function sendMessage(fd: number, bytes: Uint8Array, start: number, fds: readonly number[]): number {
  let taken = 0;
  while (start + taken < bytes.length) {
    const size = Math.min(CHUNK, bytes.length - start - taken);
    staged.bytes.set(bytes.subarray(start + taken, start + taken + size));
    outgoing.point(staged, size);
    outgoing.attach(taken === 0 ? putDescriptors(fds) : 0);
    const sent = sendmsg(fd, outgoing.header.address, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent === -1) {
      const code = lastError();
      if (code === 'EINTR') continue;
      if (code === 'EAGAIN') break;
      throw new OsError(code, 'sendmsg', `send ${size} bytes and ${fds.length} descriptors`);
    }
    taken += sent;
  }
  return taken;
}

/** @returns the size of the control message in bytes, 0 for no descriptors. */
function putDescriptors(fds: readonly number[]): number {
  if (fds.length === 0) return 0;
  const { control } = outgoing;
  control.setLong(0, CMSG_HEADER + fds.length * 4);
  control.data.setUint32(8, SOL_SOCKET, true);
  control.data.setUint32(12, SCM_RIGHTS, true);
  fds.forEach((fd, i) => {
    control.data.setInt32(CMSG_HEADER + i * 4, fd, true);
  });
  return CMSG_HEADER + Math.ceil(fds.length / 2) * 8;
}

/** What one read brought: `size` is 0 at the end of the stream. */
export interface Received {
  readonly size: number;
  readonly fds: readonly number[];
}

/** Has a read leave what it reads in the socket. The descriptors that it brings are duplicates. */
export const MSG_PEEK = 0x2;

/** Memory for one `receiveMessage`. */
export function receiveBuffer(): NativeBuffer {
  return new NativeBuffer(CHUNK);
}

const NO_FDS: readonly number[] = [];

/**
 * Reads what there is into `memory`, up to its size and, the kernel sees to that, to the end of the first piece that
 * carried descriptors.
 *
 * @param flags - `MSG_PEEK` or nothing.
 * @param most - bytes that are wanted: of `memory` no more is used.
 * @returns what was read, the descriptors being the caller's; `undefined` when there is nothing yet.
 * @throws OsError `EMSGSIZE` when descriptors were lost, `ECONNRESET` when the other side went with our bytes unread.
 */
export function receiveMessage(
  fd: number,
  memory: NativeBuffer,
  flags = 0,
  most: number = memory.bytes.length,
): Received | undefined {
  incoming.point(memory, most);
  incoming.attach(incoming.control.bytes.length);
  let size: number;
  do {
    size = recvmsg(fd, incoming.header.address, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | flags);
  } while (size === -1 && lastError() === 'EINTR');
  if (size === -1) {
    const code = lastError();
    if (code === 'EAGAIN') return undefined;
    throw new OsError(code, 'recvmsg', 'receive from the peer');
  }
  const fds = takeDescriptors();
  const lost = (incoming.header.data.getUint32(MSG_FLAGS, true) & MSG_CTRUNC) !== 0;
  if (lost || fds.length > MAX_FDS) {
    for (const each of fds) closeStranger(each);
    throw new OsError(
      'EMSGSIZE',
      'recvmsg',
      `receive the peer's descriptors: more than ${MAX_FDS} in one message, or this process may open no more`,
    );
  }
  return { size, fds };
}

/**
 * Takes exactly `size` bytes out of a socket, which are there.
 *
 * @returns them, and all descriptors that came with them, the caller's.
 * @throws OsError when they are not there, or with `EMSGSIZE` when descriptors were lost.
 */
export function takeMessage(fd: number, size: number): { bytes: Uint8Array; fds: number[] } {
  const bytes = new Uint8Array(size);
  const fds: number[] = [];
  taken ??= receiveBuffer();
  for (let at = 0; at < size; ) {
    const piece = receiveMessage(fd, taken, 0, Math.min(size - at, CHUNK));
    if (piece === undefined || piece.size === 0)
      throw new OsError('ENODATA', 'recvmsg', `take ${size} bytes out of a socket that has ${at}`);
    bytes.set(taken.bytes.subarray(0, piece.size), at);
    fds.push(...piece.fds);
    at += piece.size;
  }
  return { bytes, fds };
}

/** Takes out of a socket what is there, and forgets it. @returns the descriptors that came with it, the caller's. */
export function drain(fd: number): number[] {
  const fds: number[] = [];
  taken ??= receiveBuffer();
  try {
    for (let size = 0; size < DRAINED; ) {
      const piece = receiveMessage(fd, taken, 0, CHUNK);
      if (piece === undefined || piece.size === 0) break;
      fds.push(...piece.fds);
      size += piece.size;
    }
  } catch {
    // The other side is gone, or sends what can't be had.
  }
  return fds;
}

let taken: NativeBuffer | undefined;

function takeDescriptors(): readonly number[] {
  const size = incoming.header.data.getUint32(MSG_CONTROLLEN, true);
  if (size < CMSG_HEADER) return NO_FDS;
  const { data } = incoming.control;
  const fds: number[] = [];
  for (let at = 0; at + CMSG_HEADER <= size; ) {
    const length = data.getUint32(at, true);
    if (data.getUint32(at + 8, true) === SOL_SOCKET && data.getUint32(at + 12, true) === SCM_RIGHTS) {
      for (let i = CMSG_HEADER; i + 4 <= length; i += 4) fds.push(data.getInt32(at + i, true));
    }
    if (length < CMSG_HEADER) break;
    at += Math.ceil(length / 8) * 8;
  }
  return fds;
}
