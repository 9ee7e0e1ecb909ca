import { closeSync, constants, fstatSync, openSync, write, writeSync } from 'node:fs';
import { resolve } from 'node:path';
import { Recorder, type RecordingSink } from '../record/recorder.js';
import type { Server } from '../serve.js';
import { checkRecording, RECORD_BYTES, type RecordOptions } from './record-options.js';
import { UsageError } from './usage-error.js';
import { VERSION } from './version.js';

/** Bytes that may wait for the disk; what comes then is left out, and counted. */
const ROOM = 64 << 20;
/** How long an event stays out of the file at most, ms. */
const LATEST = 100;
/** The same where the process may die any time. */
const LATEST_MORTAL = 20;

/** A recording while it is made. */
export interface Recording {
  /** Records this server from now on. */
  add(server: Server): void;
  /** Writes what waits. */
  close(): void;
}

/** Where a recording ends up. */
export interface RecordingEnd extends RecordingSink {
  close(): void;
}

/**
 * Begins a recording.
 *
 * @param warn - hears when nothing can be written any more, and at the end how much is missing.
 * @param elsewhere - who writes the file, where it is not this process.
 * @throws UsageError when the file can't be made.
 */
export function startRecording(
  { record, recordBytes = RECORD_BYTES }: RecordOptions,
  warn: (line: string) => void,
  elsewhere?: RecordingEnd,
): Recording | undefined {
  checkRecording({ recordBytes });
  if (record === undefined) return undefined;
  const path = resolve(record);
  const file = elsewhere ?? new RecordFile(path, warn);
  const epoch = (): number => performance.timeOrigin + performance.now();
  const recorder = new Recorder(file, `virtio-misc ${VERSION}`, epoch);
  recorder.flush();
  const timer = setInterval(() => recorder.flush(), elsewhere === undefined ? LATEST : LATEST_MORTAL);
  timer.unref();
  let closed = false;
  const close = (): void => {
    if (closed) return;
    closed = true;
    clearInterval(timer);
    recorder.flush();
    file.close();
    if (recorder.dropped > 0)
      warn(`--record: ${recorder.dropped} events are missing in ${path}: the disk was too slow for them`);
  };
  process.once('exit', close);
  return { add: (server) => void server.observe(recorder.listener(recordBytes)), close };
}

/** Blocks that are to be written, and where in the file; at its end where it has no places, as a pipe. */
interface Waiting {
  readonly blocks: Uint8Array;
  readonly at: number | null;
  /** Called when they are. */
  readonly written: (() => void) | undefined;
}

/** A file that is written by another thread: nothing waits for the disk. */
export class RecordFile implements RecordingEnd {
  readonly #fd: number;
  readonly #path: string;
  readonly #warn: (line: string) => void;
  readonly #isFile: boolean;
  readonly #room: number;
  readonly #waiting: Waiting[] = [];
  #size = 0;
  #end = 0;
  /** The other thread has the first of those that wait. */
  #writing = false;
  #failed = false;
  #closed = false;

  /**
   * @param room - bytes that may wait for the disk.
   * @throws UsageError when it can't be made.
   */
  constructor(path: string, warn: (line: string) => void, room: number = ROOM) {
    this.#room = room;
    this.#path = path;
    this.#warn = warn;
    try {
      const { O_WRONLY, O_CREAT, O_TRUNC, O_NONBLOCK } = constants;
      // What guests say is this user's alone. A pipe that nobody reads is refused, and not waited for.
      this.#fd = openSync(path, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK, 0o600);
    } catch (error) {
      throw new UsageError(`--record: ${path} can't be written: ${reason(error)}`);
    }
    this.#isFile = fstatSync(this.#fd).isFile();
  }

  /** @param written - called when they are in the file. */
  write(blocks: Uint8Array, written?: () => void): boolean {
    if (this.#failed || this.#closed || this.#size + blocks.length > this.#room) return false;
    this.#waiting.push({ blocks, at: this.#isFile ? this.#end : null, written });
    this.#end += blocks.length;
    this.#size += blocks.length;
    this.#next();
    return true;
  }

  /** Writes at once what waits. */
  close(): void {
    this.#closed = true;
    // What the other thread has may be half done: the same bytes at the same place do no harm.
    const waiting = this.#isFile || !this.#writing ? this.#waiting : this.#waiting.slice(1);
    try {
      for (const { blocks, at } of this.#failed ? [] : waiting)
        for (let done = 0; done < blocks.length; )
          done += writeSync(this.#fd, blocks, done, blocks.length - done, at === null ? null : at + done);
    } catch (error) {
      this.#fail(error);
    }
    if (!this.#writing) closeSync(this.#fd);
  }

  #next(): void {
    const [first] = this.#waiting;
    if (this.#writing || first === undefined) return;
    this.#writing = true;
    const { blocks, at, written } = first;
    write(this.#fd, blocks, 0, blocks.length, at, (error, count) => {
      this.#writing = false;
      if (this.#closed) {
        closeSync(this.#fd);
        return;
      }
      if (error !== null) this.#fail(error);
      else {
        this.#size -= count;
        if (count === blocks.length) {
          this.#waiting.shift();
          written?.();
        } else {
          const rest = blocks.subarray(count);
          this.#waiting[0] = { blocks: rest, at: at === null ? null : at + count, written };
        }
      }
      this.#next();
    });
  }

  #fail(error: unknown): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#waiting.length = 0;
    this.#warn(`--record: ${this.#path} can't be written any more, and ends here: ${reason(error)}`);
  }
}

/** `no space left on device` of `ENOSPC: no space left on device, write`. */
function reason(error: unknown): string {
  const { message } = error as Error;
  return /^\w+: (.*?), \w+/.exec(message)?.[1] ?? message;
}
