import { fstatSync } from 'node:fs';
import type { Print } from '../virtio/monitor.js';
import { Output, sendBy } from './output.js';

/** Both standard streams, as this program writes them. */
export interface StandardStreams {
  readonly stdout: Output;
  /** The same as `stdout` when both go to the same place: what is written stays in order. */
  readonly stderr: Output;
}

/** How long a process that was told to stop waits for readers that do not read, ms. */
export const FLUSH = 500;

let streams: StandardStreams | undefined;

/**
 * Takes over what goes to both standard streams, whoever writes it, from now on: a device that uses `console.log`, a spinner. For commands
 * that go on when nobody reads them.
 *
 * @param room - of standard output: what may wait for its reader, in UTF-16 units.
 */
export function takeOverStreams(room?: number): StandardStreams {
  if (streams !== undefined) return streams;
  const stdout = new Output(1, room);
  const stderr = sameFile(1, 2) ? stdout : new Output(2);
  redirect(process.stdout, (text) => stdout.write(text));
  redirect(process.stderr, (text) => stderr.write(text));
  process.once('exit', () => {
    stdout.endNow();
    if (stderr !== stdout) stderr.endNow();
  });
  streams = { stdout, stderr };
  return streams;
}

/** From now on other processes may have the same streams: sockets are written to in a way that never waits for all that. */
export async function shareStreams(): Promise<void> {
  if (process.platform !== 'linux' || ![1, 2].some((fd) => fstatSync(fd).isSocket())) return;
  sendBy((await import('../linux/message-socket.js')).sendMessage);
}

/**
 * Writes what waits, for a process that ends.
 *
 * @param ms - how long to wait for readers that do not read.
 * @returns whether the streams were taken over.
 */
export async function endStreams(ms: number): Promise<boolean> {
  if (streams === undefined) return false;
  await Promise.all([streams.stdout.end(ms), streams.stderr.end(ms)]);
  return true;
}

/** Where devices' lines go. */
export function printTo(output: Output, before: () => void = () => {}): Print {
  const print = (line: string): void => {
    before();
    output.write(`${line}\n`);
  };
  return Object.assign(print, { full: () => output.full() });
}

/** Has somebody else write what anybody writes to Node's standard streams from now on, which were taken over. */
export function divert(write: (text: string, stream: NodeJS.WriteStream) => void): void {
  for (const stream of [process.stdout, process.stderr]) redirect(stream, (text) => write(text, stream));
}

function redirect(stream: NodeJS.WriteStream, write: (text: string) => void): void {
  // What is behind it is not written to any more, but may notice that its reader went.
  stream.off('error', ignore).on('error', ignore);
  stream.write = (
    chunk: string | Uint8Array,
    encoding?: BufferEncoding | ((error?: Error | null) => void),
    callback?: (error?: Error | null) => void,
  ): boolean => {
    write(
      typeof chunk === 'string'
        ? Buffer.from(chunk, typeof encoding === 'string' ? encoding : 'utf8').toString()
        : Buffer.from(chunk).toString(),
    );
    const done = typeof encoding === 'function' ? encoding : callback;
    if (done !== undefined) process.nextTick(done);
    return true;
  };
}

function ignore(): void {}

function sameFile(one: number, other: number): boolean {
  const [a, b] = [fstatSync(one), fstatSync(other)];
  return a.dev === b.dev && a.ino === b.ino && a.rdev === b.rdev;
}
