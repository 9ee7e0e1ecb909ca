import { codeFrame } from './code-frame.js';
import { currentLoads, LOAD_PARAMETER, pathOf } from './load-marks.js';

/** Where something was thrown, for the author of the code there. */
export interface Explanation {
  /** The place, `device.ts:12:23`; a file in or below the working directory is named from there. */
  readonly place: string;
  readonly path: string;
  /** Tells places apart, and the code there before and after an edit. */
  readonly key: string;
  /** Whether it is in a device's file, or one that it imports. */
  readonly inDeviceFile: boolean;
  /** The stack, as far as it is in files of the author's, and the code of the place. */
  readonly lines: readonly string[];
}

/** A line of a stack. */
interface Frame {
  readonly name: string;
  readonly path: string;
  readonly load: string | undefined;
  readonly line: number;
  readonly column: number;
}

/** Lines shown of a stack. */
const FRAMES = 6;
/** Errors shown of a chain of causes. */
const CAUSES = 3;

/** The folder of this package's code: what is in it, is not the author's. */
const OWN = pathOf(new URL('../', import.meta.url).href);

/** @returns nothing for what is no error, or was thrown by no file of an author's. */
export function explainError(error: unknown): Explanation | undefined {
  if (!(error instanceof Error)) return undefined;
  const frames = authorsFrames(error);
  const top = frames[0];
  if (top === undefined) return undefined;
  const { path, line, column, load } = top;
  return {
    place: placeOf(top),
    path,
    key: `${path}:${line}:${column}:${load ?? ''}`,
    inDeviceFile: load !== undefined,
    // Made when asked for: a peer may have a device throw as often as it likes, and most of it is only counted.
    get lines() {
      return linesOf(error, frames);
    },
  };
}

function linesOf(error: Error, frames: readonly Frame[]): string[] {
  const { path, line, column, load } = frames[0]!;
  // What is on the disk is not what ran, once it was saved.
  const same = load === undefined || currentLoads.get(load)?.(path) === true;
  const lines = frames
    .slice(0, FRAMES)
    .map(({ name, ...at }) => `at ${name === '' ? '' : `${name} `}(${placeOf(at)})`);
  if (same) lines.push(...codeFrame(path, line, column));
  lines.push(...causes(error));
  return lines;
}

function causes(error: Error): string[] {
  const lines: string[] = [];
  let { cause } = error;
  for (let i = 0; i < CAUSES && cause instanceof Error; i++) {
    const top = authorsFrames(cause)[0];
    lines.push(`caused by: ${cause.message}${top === undefined ? '' : ` (${placeOf(top)})`}`);
    cause = cause.cause;
  }
  return lines;
}

/** The frames of files of the author's, innermost first. */
function authorsFrames({ stack = '' }: Error): Frame[] {
  const frames: Frame[] = [];
  for (const text of stack.split('\n')) {
    const match = /^\s+at (?:(.*) \()?((?:file:\/\/)?\/.*?):(\d+):(\d+)\)?$/.exec(text);
    if (match === null) continue;
    const [, name = '', where, line, column] = match as unknown as [
      string,
      string | undefined,
      string,
      string,
      string,
    ];
    // Node's versions differ in it.
    const called = name.replace(/^Object\./, '');
    const frame = { name: called, ...fileOf(where), line: Number(line), column: Number(column) };
    if (frame.path.startsWith(OWN) || frame.path.includes('/node_modules/')) continue;
    frames.push(frame);
  }
  return frames;
}

function fileOf(where: string): { path: string; load: string | undefined } {
  if (!where.startsWith('file:')) return { path: where, load: undefined };
  try {
    return { path: pathOf(where), load: new URL(where).searchParams.get(LOAD_PARAMETER) ?? undefined };
  } catch {
    return { path: where, load: undefined };
  }
}

function placeOf({ path, line, column }: Pick<Frame, 'path' | 'line' | 'column'>): string {
  const here = `${globalThis.process?.cwd?.() ?? ''}/`;
  return `${here.length > 1 && path.startsWith(here) ? path.slice(here.length) : path}:${line}:${column}`;
}
