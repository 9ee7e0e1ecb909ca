import { codeFrame } from '../device-file/code-frame.js';
import type { DeviceFile } from '../device-file/device-file.js';
import { TypeCheck, type TypeReport } from '../device-file/type-check.js';
import type { ReloadResult } from '../keeper/frames.js';
import type { Server } from '../serve.js';
import { reloadOnSave } from './live-reload.js';
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
  const check = checkTypes(file.path, lines);
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

/** A check of a file's types that says what is wrong, and when that is over. */
export function checkTypes(path: string, lines: Logger): TypeCheck {
  let wrong = false;
  return new TypeCheck(path, (reports) => {
    if (reports.length > 0) logReports(reports, lines);
    else if (wrong) lines.info('its types are right again');
    wrong = reports.length > 0;
  });
}

function logReports(reports: readonly TypeReport[], log: Logger): void {
  for (const { message, more, path, line, column } of reports.slice(0, SHOWN)) {
    const detail = [...more, ...codeFrame(path, line, column)];
    log.warn({ detail }, `a type is wrong, the device runs all the same: ${message}`);
  }
  const left = reports.length - SHOWN;
  if (left > 0) log.warn(`and ${left} more: tsc shows them all`);
}
