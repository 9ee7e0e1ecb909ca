import { closeSync, constants, fstatSync, openSync, write, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** Sends what a socket takes at once: 0 bytes when it is full. */
type SendNow = (fd: number, bytes: Uint8Array, start: number, fds: readonly number[]) => number;
let sendNow: SendNow | undefined;

/** Has what goes to sockets be sent by this, which never waits, whatever other processes do with them. */
export function sendBy(send: SendNow): void {
  sendNow = send;
}

/** UTF-16 units that may wait to be written, unless told. */
const ROOM = 1 << 20;
/** UTF-16 units that are made into bytes together. */
const PIECE = 1 << 16;
/** Bytes that a pipe takes as a whole (PIPE_BUF): nothing that other processes write to it comes in between. */
const WHOLE = 4096;
/** Bytes written in one turn of the event loop. */
const TURN = 1 << 18;
/** How long a reader that does not read is left alone, ms: from the first time on twice as long each time. */
const FIRST_LOOK = 1;
const LAST_LOOK = 100;
const LOOK_AT_END = 5;
/** When a disk that is full, or a reader that is gone, is tried again, ms. */
const RETRY = 1000;

/**
 * Standard output or standard error, which never holds the process up and never ends it: what is written waits for the end of this turn
 * of the event loop, goes out in one piece and in order, and waits in memory while it can't. When there is no room left, whole lines are
 * dropped and counted, and a line says how many as soon as there is room again.
 */
export class Output {
  readonly #fd: number;
  readonly #own: boolean;
  /** A file is written by another thread, because there is no way to write to it without waiting for the disk. */
  readonly #isFile: boolean;
  readonly #isSocket: boolean;
  readonly #room: number;
  readonly #waiting: string[] = [];
  #waitingSize = 0;
  #writing: Buffer = Buffer.alloc(0);
  #at = 0;
  #state: 'idle' | 'scheduled' | 'blocked' | 'file' = 'idle';
  #timer: NodeJS.Timeout | undefined;
  #look = FIRST_LOOK;
  #dropped = 0;
  /** What writing waits for, and waited for when something was dropped last. */
  #why = 'nobody read them';
  #whyDropped = '';
  #failed = false;
  #settled: (() => void)[] = [];

  /** The line that says what was dropped. */
  notice: (lines: number, why: string) => string = (lines, why) =>
    `virtio-misc: ${lines} ${lines === 1 ? 'line was' : 'lines were'} dropped: ${why}\n`;

  /**
   * @param fd - stays the caller's.
   * @param room - UTF-16 units that may wait.
   */
  constructor(fd: number, room: number = ROOM) {
    this.#room = room;
    const stat = fstatSync(fd);
    this.#isFile = stat.isFile() || stat.isBlockDevice();
    this.#isSocket = stat.isSocket();
    const own = this.#isFile ? undefined : reopen(fd);
    this.#fd = own ?? fd;
    this.#own = own !== undefined;
  }

  /** Whether there is no room for a line, which is then counted as dropped. */
  full(): boolean {
    if (!this.#isFull) return false;
    this.#drop(1);
    return true;
  }

  /** Writes a text, soon: lines, as a rule. */
  write(text: string): void {
    if (this.#isFull) {
      this.#drop(Math.max(1, text.split('\n').length - 1));
      return;
    }
    this.#add(text);
    this.#schedule();
  }

  /**
   * Writes what waits, as far as that can be done.
   *
   * @param ms - how long to wait for a reader that does not read.
   */
  async end(ms: number): Promise<void> {
    const deadline = performance.now() + ms;
    this.#failed = false;
    while (this.#size > 0 && !this.#failed) {
      const left = deadline - performance.now();
      if (left <= 0) return;
      if (this.#state === 'file') await this.#settle(left);
      else {
        clearTimeout(this.#timer);
        this.#pump();
        if (this.#state === 'blocked' && !this.#failed) await sleep(Math.min(LOOK_AT_END, left));
        else if (this.#state === 'scheduled') await sleep(0);
      }
    }
  }

  /** What can be written at once, for a process that ends without notice. */
  endNow(): void {
    try {
      if (this.#state === 'file') this.#take();
      for (;;) {
        this.#next();
        if (this.#writing.length === 0) return;
        this.#at += this.#write();
      }
    } catch {
      // Nobody is left to hear of it.
    }
  }

  /** Lets its own descriptor go, at once. */
  close(): void {
    clearTimeout(this.#timer);
    if (this.#own) closeSync(this.#fd);
  }

  /** Waits for the other thread. */
  async #settle(ms: number): Promise<void> {
    const late = new AbortController();
    const settled = new Promise<void>((done) => this.#settled.push(done));
    const bound = ms === Number.POSITIVE_INFINITY ? [] : [sleep(ms, undefined, { signal: late.signal })];
    await Promise.race([settled, ...bound]);
    late.abort();
    await Promise.allSettled(bound);
  }

  get #size(): number {
    return this.#waitingSize + this.#writing.length - this.#at;
  }

  /** Once full, it is so until half of it is out: a line that says what is missing, for each that finds room, helps nobody. */
  get #isFull(): boolean {
    return this.#size >= this.#room || (this.#dropped > 0 && this.#size >= this.#room / 2);
  }

  #schedule(): void {
    if (this.#state !== 'idle') return;
    this.#state = 'scheduled';
    setImmediate(() => {
      if (this.#state === 'scheduled') this.#pump();
    });
  }

  #drop(lines: number): void {
    this.#dropped += lines;
    this.#whyDropped = this.#why;
  }

  #add(text: string): void {
    const last = this.#waiting.length - 1;
    if (last >= 0 && this.#waiting[last]!.length < PIECE) this.#waiting[last] += text;
    else this.#waiting.push(text);
    this.#waitingSize += text.length;
  }

  #take(): void {
    const piece = this.#waiting.shift() ?? '';
    this.#waitingSize -= piece.length;
    this.#writing = Buffer.from(piece);
    this.#at = 0;
  }

  #next(): void {
    if (this.#at === this.#writing.length) this.#take();
  }

  #pump(): void {
    this.#next();
    if (this.#writing.length === 0) {
      this.#state = 'idle';
      return;
    }
    if (this.#isFile) {
      this.#state = 'file';
      write(this.#fd, this.#writing, this.#at, (error, written) => this.#wrote(error, written));
      return;
    }
    let turn = TURN;
    try {
      for (; this.#writing.length > 0 && turn > 0; this.#next()) {
        const count = this.#write();
        this.#at += count;
        turn -= count;
        this.#look = FIRST_LOOK;
      }
    } catch (error) {
      this.#block(error as NodeJS.ErrnoException);
      return;
    }
    this.#progress();
  }

  /** Writes some. @returns how many bytes. @throws as `writeSync`. */
  #write(): number {
    const part = this.#part();
    if (!this.#isSocket || sendNow === undefined) return writeSync(this.#fd, this.#writing, this.#at, part);
    const sent = sendNow(this.#fd, this.#writing.subarray(this.#at, this.#at + part), 0, []);
    if (sent === 0) throw Object.assign(new Error('EAGAIN'), { code: 'EAGAIN' });
    return sent;
  }

  /** How many bytes to write next: whole lines, for other processes may write to the same place. */
  #part(): number {
    const left = this.#writing.length - this.#at;
    if (left <= WHOLE) return left;
    const end = this.#writing.lastIndexOf(0x0a, this.#at + WHOLE - 1) + 1;
    if (end > this.#at) return end - this.#at;
    const long = this.#writing.indexOf(0x0a, this.#at) + 1;
    return long > 0 ? long - this.#at : left;
  }

  #wrote(error: NodeJS.ErrnoException | null, written: number): void {
    this.#state = 'idle';
    if (error !== null) this.#block(error);
    else {
      this.#at += written;
      this.#progress();
    }
    for (const settled of this.#settled.splice(0)) settled();
  }

  #progress(): void {
    this.#failed = false;
    if (this.#dropped > 0 && !this.#isFull) {
      this.#add(this.notice(this.#dropped, this.#whyDropped));
      this.#dropped = 0;
    }
    this.#state = 'idle';
    if (this.#size > 0) this.#schedule();
  }

  #block({ code, message }: NodeJS.ErrnoException): void {
    let ms = RETRY;
    if (code === 'EAGAIN') {
      ms = this.#look;
      this.#look = Math.min(2 * ms, LAST_LOOK);
      this.#why = 'nobody read them';
    } else {
      this.#failed = true;
      this.#why = code === 'EPIPE' ? 'nobody was there to read them' : reason(message);
    }
    this.#state = 'blocked';
    this.#timer = setTimeout(() => this.#pump(), ms);
    // The process may end; `end` and `endNow` do what can be done.
    this.#timer.unref();
  }
}

/**
 * The same pipe or terminal, as an open file of its own that never waits: the flag of the other one is everybody's who has it. A socket
 * can't be opened so; Node has set its flag, and takes it away again when another process is started that has it, too (see `sendBy`).
 */
function reopen(fd: number): number | undefined {
  try {
    return openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch {
    return undefined;
  }
}

/** `no space left on device` of `ENOSPC: no space left on device, write`. */
function reason(message: string): string {
  return /^\w+: (.*), \w+$/.exec(message)?.[1] ?? message;
}
