import koffi from 'koffi';
import { Fifo } from '../transports/fifo.js';
import { closeFd } from './close-fd.js';
import { isEventFd } from './descriptor.js';
import { fcntl } from './libc.js';
import { NativeBuffer } from './native-buffer.js';

const F_GET_SEALS = 1034;
const SOL_SOCKET = 1;
const SO_LINGER = 13;

/** Threads of Node's four that may be busy closing; the others are left to those who read and write files. */
const AT_ONCE = 2;

type Done = () => void;
const library = koffi.load(null);
const close = library.func('int close(int fd)') as { async(fd: number, done: Done): void };
const setsockopt = library.func(
  'int setsockopt(int fd, int level, int option, uintptr_t value, uint32_t size)',
) as { async(fd: number, level: number, option: number, value: number, size: number, done: Done): void };
const exit = library.func('void _exit(int status)') as (status: number) => void;

/** struct linger {int on, seconds;}, off. */
const noLinger = new NativeBuffer(8);
const waiting = new Fifo<number>();
let busy = 0;
let used = false;

/** Closes a descriptor that a peer sent, whatever it is: only eventfds and memory, which can't wait for anybody, at once. */
export function closeStranger(fd: number): void {
  if (isEventFd(fd) || fcntl(fd, F_GET_SEALS, 0) !== -1) closeFd(fd);
  else closeLater(fd);
}

/**
 * Closes a descriptor on a thread, for the kernel may wait in it for others: for the bytes of a socket to be sent, for the server of a file.
 * It is open for a moment yet.
 */
export function closeLater(fd: number): void {
  if (!used) {
    used = true;
    // Node would wait for its threads before it ends. Late, so that others who listen have cleaned up before.
    process.on('exit', (code) => {
      if (busy > 0) exit(code);
    });
  }
  waiting.push(fd);
  next();
}

function next(): void {
  while (busy < AT_ONCE) {
    const fd = waiting.shift();
    if (fd === undefined) return;
    busy += 1;
    // Not from here: a socket can be kept locked.
    setsockopt.async(fd, SOL_SOCKET, SO_LINGER, noLinger.address, noLinger.bytes.length, () => {
      close.async(fd, () => {
        busy -= 1;
        next();
      });
    });
  }
}
