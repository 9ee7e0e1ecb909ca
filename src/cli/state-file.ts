import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { resolve } from 'node:path';
import { UsageError } from './usage-error.js';

/** Writes a state into a file, which has all of it or is not touched. @throws UsageError when it can't be written. */
export function writeState(file: string, bytes: Uint8Array): void {
  const path = resolve(file);
  const part = `${path}.${process.pid}.part`;
  try {
    // What a guest gave a device is for this user alone.
    const fd = openSync(part, 'wx', 0o600);
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(part, path);
  } catch (error) {
    rmSync(part, { force: true });
    throw new UsageError(`can't write ${file}: ${(error as Error).message}`);
  }
}

/** Reads one, whatever is in it. @throws UsageError when it can't be read. */
export function readState(file: string): Uint8Array {
  try {
    return readFileSync(resolve(file));
  } catch (error) {
    throw notRestored(file, (error as Error).message);
  }
}

/** Why a device can't go on from a file. */
export function notRestored(file: string, why: string): UsageError {
  return new UsageError(`--restore ${file}: ${why}; without --restore the device begins afresh`);
}
