import { explainError } from '../device-file/explain-error.js';
import { FailureLines } from '../device-file/failure-lines.js';
import { processLimiter } from '../lines/process-limiter.js';
import type { LineContext, Logger } from './log.js';

/** Who says what became of which files. */
const claims = new Map<object, { owns(path: string): boolean; say(line: string, error: Error): void }>();

/**
 * Has the process live on when code of a device's file rejects a promise that nobody waits for, or throws in a timer of its own: it is
 * logged with the code there. What anybody else throws ends the process as ever.
 *
 * @param files - by path: the device's file, and what it imports.
 * @returns ends it.
 */
export function logStrayErrors(files: ReadonlyMap<string, unknown>, log: Logger): () => void {
  const write = (line: string, about: LineContext): void => log.error(about, line);
  const limiter = processLimiter(write);
  const failures = new FailureLines(limiter, write);
  const claim = {};
  if (claims.size === 0) {
    process.on('unhandledRejection', rejected);
    process.on('uncaughtException', thrown);
  }
  claims.set(claim, {
    owns: (path) => files.has(path),
    say: (line, error) => failures.say(line, { error }),
  });
  return () => {
    claims.delete(claim);
    if (claims.size === 0) stop();
    limiter.flush();
  };
}

function stop(): void {
  process.off('unhandledRejection', rejected);
  process.off('uncaughtException', thrown);
}

function claimed(what: string, error: unknown): boolean {
  const found = explainError(error);
  if (found?.inDeviceFile !== true) return false;
  const owner = [...claims.values()].find(({ owns }) => owns(found.path));
  owner?.say(`${what}: ${(error as Error).message}`, error as Error);
  return owner !== undefined;
}

function rejected(error: unknown): void {
  if (!claimed('a promise of the device was rejected, and nobody waits for it', error)) end(error);
}

function thrown(error: unknown): void {
  if (!claimed('the device threw outside of what calls it', error)) end(error);
}

/** As Node itself would have. */
function end(error: unknown): void {
  stop();
  setImmediate(() => {
    throw error;
  });
}
