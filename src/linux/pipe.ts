import { OsError } from '../transports/os-error.js';
import type { Transfer } from '../transports/ports.js';
import { closeFd } from './close-fd.js';
import { closeStranger } from './close-stranger.js';
import { describeDescriptor } from './descriptor.js';
import { check, lastError } from './errno.js';
import { fcntl, pipe2, read, write } from './libc.js';
import { NativeBuffer } from './native-buffer.js';
import { setNonBlocking } from './non-blocking.js';
import { EPOLLIN, EPOLLOUT, type Reactor, type Watch } from './reactor.js';

const F_GETFL = 3;
const O_ACCMODE = 3;
const O_RDONLY = 0;
const O_WRONLY = 1;
const O_CLOEXEC = 0o2000000;

/** Bytes of one turn: what a pipe holds, unless told otherwise. */
const CHUNK = 64 * 1024;
const staged = new NativeBuffer(CHUNK);
const made = new NativeBuffer(8);

/** @returns the two ends, both the caller's. */
export function createPipe(): { readonly reader: number; readonly writer: number } {
  check(pipe2(made.address, O_CLOEXEC), 'pipe2', 'make a pipe');
  return { reader: made.data.getInt32(0, true), writer: made.data.getInt32(4, true) };
}

/** Writes all, a piece whenever there is room, and closes the end. */
export function writePipe(
  reactor: Reactor,
  fd: number,
  bytes: Uint8Array,
  done: (error?: Error) => void,
): Transfer {
  let at = 0;
  const end = new PipeEnd(reactor, fd, EPOLLOUT, () => {
    if (at === bytes.length) return end.finish(done);
    const size = Math.min(CHUNK, bytes.length - at);
    staged.bytes.set(bytes.subarray(at, at + size));
    const written = write(fd, staged.address, size);
    if (written === -1) end.failed('write', done);
    else at += written;
    if (at === bytes.length) end.finish(done);
  });
  return end;
}

/** Reads until the other end is closed, and closes this one. */
export function readPipe(
  reactor: Reactor,
  fd: number,
  most: number,
  done: (result: Uint8Array | Error) => void,
): Transfer {
  const pieces: Uint8Array[] = [];
  let total = 0;
  const end = new PipeEnd(reactor, fd, EPOLLIN, () => {
    const count = read(fd, staged.address, CHUNK);
    if (count === -1) {
      end.failed('read', done);
      return;
    }
    if (count === 0) {
      end.finish(() => done(joined(pieces, total)));
      return;
    }
    total += count;
    if (total > most) {
      end.finish(() => done(new OsError('EFBIG', 'read', `read a pipe: more than ${most} bytes come`)));
      return;
    }
    pieces.push(staged.bytes.slice(0, count));
  });
  return end;
}

/** One end of a pipe, or a stream socket, that a peer may have made anything of. */
class PipeEnd implements Transfer {
  readonly #fd: number;
  readonly #watch: Watch;
  #ended = false;

  /** @throws OsError when it is neither (then it is closed). */
  constructor(reactor: Reactor, fd: number, events: number, ready: () => void) {
    try {
      const what = describeDescriptor(fd);
      if (!/^(pipe|socket):\[/.test(what)) throw new OsError('EINVAL', 'readlink', `use ${what} as a pipe`);
      const mode = fcntl(fd, F_GETFL, 0) & O_ACCMODE;
      // One that is never ready.
      if (mode === (events === EPOLLIN ? O_WRONLY : O_RDONLY)) {
        const act = events === EPOLLIN ? 'read' : 'write';
        throw new OsError('EBADF', 'fcntl', `${act} at this end of ${what}`);
      }
      setNonBlocking(fd);
      this.#watch = reactor.watch(fd, events, ready);
    } catch (error) {
      closeStranger(fd);
      throw error;
    }
    this.#fd = fd;
  }

  finish(done: () => void): void {
    if (this.#ended) return;
    this.end();
    done();
  }

  /** A call into the kernel failed, just now. */
  failed(syscall: 'read' | 'write', done: (error: Error) => void): void {
    const code = lastError();
    if (code === 'EAGAIN' || code === 'EINTR') return;
    this.finish(() => done(new OsError(code, syscall, `${syscall} a pipe`)));
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#watch.end();
    // A pipe is closed at once, so that its other end sees it.
    if (describeDescriptor(this.#fd).startsWith('pipe:')) closeFd(this.#fd);
    else closeStranger(this.#fd);
  }
}

function joined(pieces: readonly Uint8Array[], total: number): Uint8Array {
  const all = new Uint8Array(total);
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}
