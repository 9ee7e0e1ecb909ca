import assert from 'node:assert/strict';
import { sendmsg } from '../libc.js';
import { NativeBuffer } from '../native-buffer.js';

const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;

/** Sends one byte and descriptors, which stay the caller's: as many as the kernel takes, past the limits of our own sending. */
export function sendDescriptors(socket: number, fds: readonly number[]): void {
  const control = new NativeBuffer(16 + fds.length * 4);
  control.setLong(0, 16 + fds.length * 4);
  control.data.setInt32(8, SOL_SOCKET, true);
  control.data.setInt32(12, SCM_RIGHTS, true);
  fds.forEach((fd, i) => void control.data.setInt32(16 + i * 4, fd, true));
  const byte = new NativeBuffer(1);
  const vector = new NativeBuffer(16);
  vector.setLong(0, byte.address);
  vector.setLong(8, 1);
  const header = new NativeBuffer(56);
  header.setLong(16, vector.address);
  header.setLong(24, 1);
  header.setLong(32, control.address);
  header.setLong(40, control.bytes.length);
  assert.equal(sendmsg(socket, header.address, 0), 1);
}
