import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Print } from '../virtio/monitor.js';
import { piecesOf } from '../vm/inserts.js';
import type { LogOutput } from './log.js';
import { divert } from './standard-streams.js';

/** The environment variable that names the pipe of a guest's console, and the mark, in a worker of `vm`. */
const VARIABLE = 'VIRTIO_MISC_CONSOLE';

/** Bytes that may wait for the pipe. */
const ROOM = 1 << 20;
/** When a full pipe is tried again, ms. */
const RETRY = 2;

/** What a worker says there: a line of its device's, an entry of the log, or what somebody wrote to a standard stream. */
export type Said =
  | { readonly what: 'line'; readonly device: string; readonly text: string }
  | { readonly what: 'log' | 'out' | 'err'; readonly text: string };

const LETTERS = { line: 'd', log: 'l', out: 'o', err: 'e' } as const;

/** What a worker is to have in its environment, so that it says everything in the pipe. */
export function consoleVariable(path: string, mark: Buffer): Readonly<Record<string, string>> {
  return { [VARIABLE]: `${mark.toString('hex')} ${path}` };
}

/** What a worker wrote. */
export function saidIn(bytes: Buffer): Said | undefined {
  const text = bytes.toString('utf8', 1);
  const letter = String.fromCharCode(bytes[0] ?? 0);
  if (letter === LETTERS.line) {
    const end = text.indexOf('\n');
    return { what: 'line', device: text.slice(0, end), text: text.slice(end + 1) };
  }
  const what = (['log', 'out', 'err'] as const).find((kind) => LETTERS[kind] === letter);
  return what && { what, text };
}

/**
 * A worker's way to the console of its guest: what it says there is between what the guest printed before it asked for something, and what it prints
 * when it has the answer. So it is written at once; only what finds the pipe full waits.
 */
export class ConsoleLine implements LogOutput {
  readonly #fd: number;
  readonly #mark: Buffer;
  readonly #waiting: Buffer[] = [];
  #size = 0;
  #dropped = 0;
  #closed = false;
  notice: LogOutput['notice'] = () => '';

  private constructor(path: string, mark: Buffer) {
    this.#fd = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
    this.#mark = mark;
    divert((text, stream) => this.#say(LETTERS[stream === process.stderr ? 'err' : 'out'], text));
    process.once('exit', () => this.#pump());
  }

  /** @returns `undefined` in a process that is no worker of `vm`. */
  static find(): ConsoleLine | undefined {
    const [mark, path] = /^(\S+) (.*)$/s.exec(process.env[VARIABLE] ?? '')?.slice(1) ?? [];
    // What this process starts has no business there.
    delete process.env[VARIABLE];
    return path === undefined ? undefined : new ConsoleLine(path, Buffer.from(mark!, 'hex'));
  }

  /** An entry of the log. */
  write(text: string): void {
    this.#say(LETTERS.log, text);
  }

  /** Where a device's lines go. */
  print(device: string): Print {
    const print = (line: string): void => this.#say(LETTERS.line, `${device}\n${line}`);
    return Object.assign(print, { full: () => this.#full() });
  }

  /** Waits until all is out, but not for ever. */
  async end(ms: number): Promise<void> {
    const deadline = performance.now() + ms;
    while (this.#size > 0 && performance.now() < deadline) await sleep(RETRY);
  }

  #full(): boolean {
    if (this.#size < ROOM && !this.#closed) return false;
    this.#dropped += 1;
    return true;
  }

  #say(letter: string, text: string): void {
    if (this.#full()) return;
    for (const piece of piecesOf(this.#mark, process.pid, Buffer.from(letter + text))) {
      this.#waiting.push(piece);
      this.#size += piece.length;
    }
    // Others wait for a timer.
    if (this.#size > 0 && !this.#blocked) this.#pump();
  }

  #blocked = false;

  #pump(): void {
    this.#blocked = false;
    try {
      for (let piece = this.#waiting[0]; piece !== undefined; piece = this.#waiting[0]) {
        writeSync(this.#fd, piece);
        this.#waiting.shift();
        this.#size -= piece.length;
      }
    } catch (error) {
      this.#block(error as NodeJS.ErrnoException);
      return;
    }
    if (this.#dropped === 0) return;
    const dropped = this.#dropped;
    this.#dropped = 0;
    this.write(this.notice(dropped, 'nobody read them'));
  }

  #block({ code }: NodeJS.ErrnoException): void {
    if (code === 'EAGAIN') {
      this.#blocked = true;
      setTimeout(() => this.#pump(), RETRY).unref();
      return;
    }
    // Whoever read it is gone, and this process will be.
    this.#closed = true;
    this.#waiting.length = 0;
    this.#size = 0;
    closeSync(this.#fd);
  }
}
