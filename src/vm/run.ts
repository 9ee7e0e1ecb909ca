import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { settleAll } from './settle.js';
import { VmError, type VmErrorCode } from './vm-error.js';

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly signal?: AbortSignal | undefined;
  /** Hears each line of the standard output as it comes. */
  readonly onLine?: (line: string) => void;
  /** What a failure counts as. */
  readonly code?: VmErrorCode;
}

/** Output kept of a program for its error message, in characters. */
const KEPT = 4000;

/**
 * Runs a program to its end.
 *
 * @returns what it wrote to its standard output.
 * @throws VmError with the last it said, when it can't be started or fails.
 */
export async function run(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const child = start(command, args, options, ['ignore', 'pipe', 'pipe']);
  const output = collect(child.stdout);
  const errors = collect(child.stderr);
  if (options.onLine && child.stdout) createInterface({ input: child.stdout }).on('line', options.onLine);
  await ended(child, command, options, () => `${output()}${errors()}`);
  return output();
}

/** Runs two programs, the first one's output being the second one's input. */
export async function runPiped(
  [from, fromArgs]: readonly [string, readonly string[]],
  [to, toArgs]: readonly [string, readonly string[]],
  options: RunOptions = {},
): Promise<void> {
  const source = start(from, fromArgs, options, ['ignore', 'pipe', 'pipe']);
  const sink = start(to, toArgs, options, ['pipe', 'ignore', 'pipe']);
  const sourceErrors = collect(source.stderr);
  const sinkErrors = collect(sink.stderr);
  // The exit codes say how it went; a broken pipe adds nothing.
  sink.stdin?.on('error', () => {});
  if (sink.stdin) source.stdout?.pipe(sink.stdin);
  // When the sink leaves early, the source must not wait for a reader for ever.
  // Unpiped first: a pipe that hears of its broken end only after this would pause the source again.
  sink.on('close', (status) => {
    source.stdout?.unpipe();
    if (status === 0) source.stdout?.resume();
    else source.stdout?.destroy();
  });
  // The sink's story comes first: a source whose sink died fails too.
  await settleAll([ended(sink, to, options, sinkErrors), ended(source, from, options, sourceErrors)]);
}

function start(
  command: string,
  args: readonly string[],
  { cwd, env, signal }: RunOptions,
  stdio: Exclude<SpawnOptions['stdio'], undefined>,
): ChildProcess {
  if (signal?.aborted) throw new VmError('ABORTED', 'stopped');
  return spawn(command, args, { cwd, env: env ?? process.env, signal, stdio });
}

function collect(stream: NodeJS.ReadableStream | null): () => string {
  let text = '';
  stream?.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
  });
  return () => text;
}

function ended(
  child: ChildProcess,
  command: string,
  { signal, code = 'HOST' }: RunOptions,
  said: () => string,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let failure: Error | undefined;
    child.on('error', (error: NodeJS.ErrnoException) => {
      failure =
        error.code === 'ENOENT'
          ? new VmError('HOST', `there is no program '${command}' on this machine`)
          : error;
      // A program that never started has no end to wait for.
      if (child.pid === undefined) reject(failure);
    });
    child.on('close', (status, killedBy) => {
      if (signal?.aborted) reject(new VmError('ABORTED', 'stopped'));
      else if (failure) reject(failure);
      else if (status === 0) resolve();
      else
        reject(new VmError(code, `${command} failed (${killedBy ?? status})\n${said().trim().slice(-KEPT)}`));
    });
  });
}
