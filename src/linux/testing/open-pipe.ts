import koffi from 'koffi';
import { NativeBuffer } from '../native-buffer.js';

const O_CLOEXEC = 0o2000000;
const pipe2 = koffi.load(null).func('int pipe2(uintptr_t fds, int flags)');

/** @returns the end to read from and the end to write to. */
export function openPipe(): [number, number] {
  const fds = new NativeBuffer(8);
  if (pipe2(fds.address, O_CLOEXEC) === -1) throw new Error('no pipe');
  return [fds.data.getInt32(0, true), fds.data.getInt32(4, true)];
}
