import { existsSync, readFileSync } from 'node:fs';
import { codeFrame } from '../device-file/code-frame.js';
import type { DeviceFile } from '../device-file/device-file.js';
import { FileWatcher } from '../device-file/file-watcher.js';
import { hashOf } from '../device-file/module-source.js';
import { TypeCheck, type TypeReport } from '../device-file/type-check.js';
import type { Server } from '../serve.js';
import { type ReloadResult, reloadOnSave } from './live-reload.js';
import type { Logger } from './log.js';
import { logStrayErrors } from './stray-errors.js';

/** What is done for a device's file while it is served. */
export interface Attendance {
  /** Whether a save replaces what is served. */
  readonly watch: boolean;
  /** Whether its types are looked at. */
  readonly typeCheck: boolean;
  reloaded?(result: ReloadResult): void;
}

/** Errors of types that are logged of one check. */
const SHOWN = 3;

/**
 * Looks after a device's file while it is served: what it throws by itself is logged, a save takes over, and its types are checked in the
 * background, again after each save.
 *
 * @returns ends all that.
 */
export function attendFile(
  file: DeviceFile,
  server: Server,
  log: Logger,
  { watch, typeCheck, reloaded = () => {} }: Attendance,
): () => void {
  const lines = log.child({ file: file.path });
  let wrong = false;
  const check = new TypeCheck(file.path, (reports) => {
    if (reports.length > 0) logReports(reports, lines);
    else if (wrong) lines.info('its types are right again');
    wrong = reports.length > 0;
  });
  const stopStrays = logStrayErrors(file.files, lines);
  const stopReloading = watch
    ? reloadOnSave(file, server, log, (result) => {
        reloaded(result);
        if (!typeCheck) return;
        // Of code that does not run, what kept it from that was said.
        if (result === 'failed') check.close();
        else check.start();
      })
    : undefined;
  if (typeCheck) check.start();
  return () => {
    stopReloading?.();
    check.close();
    stopStrays();
  };
}

/**
 * Checks the types of a device's file that other processes load, now and after each save.
 *
 * @returns ends that.
 */
export function attendTypes(path: string, log: Logger, watch: boolean): () => void {
  const lines = log.child({ file: path });
  let wrong = false;
  const check = new TypeCheck(path, (reports) => {
    if (reports.length > 0) logReports(reports, lines);
    else if (wrong) lines.info('its types are right again');
    wrong = reports.length > 0;
  });
  const files = new Map<string, string | undefined>();
  const start = (): void => {
    files.set(path, existsSync(path) ? hashOf(readFileSync(path)) : undefined);
    check.start();
  };
  start();
  const watcher = watch ? new FileWatcher(files, start) : undefined;
  return () => {
    watcher?.close();
    check.close();
  };
}

function logReports(reports: readonly TypeReport[], log: Logger): void {
  for (const { message, more, path, line, column } of reports.slice(0, SHOWN)) {
    const detail = [...more, ...codeFrame(path, line, column)];
    log.warn({ detail }, `a type is wrong, the device runs all the same: ${message}`);
  }
  const left = reports.length - SHOWN;
  if (left > 0) log.warn(`and ${left} more: tsc shows them all`);
}
