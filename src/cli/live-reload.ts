import type { DeviceFile } from '../device-file/device-file.js';
import type { DeviceFileError } from '../device-file/device-file-error.js';
import { explainError } from '../device-file/explain-error.js';
import { FileWatcher } from '../device-file/file-watcher.js';
import type { Server } from '../serve.js';
import type { Logger } from './log.js';

/** What became of a save. */
export type ReloadResult = 'reloaded' | 'refused' | 'failed';

/**
 * Replaces what a server serves whenever the device's file, or one that it imports, is saved. Whatever goes wrong with the new code is
 * logged with the code there, and the old code goes on.
 *
 * @returns ends it.
 */
export function reloadOnSave(
  file: DeviceFile,
  server: Server,
  log: Logger,
  reloaded: (result: ReloadResult) => void = () => {},
): () => void {
  const lines = log.child({ file: file.path });
  let closed = false;
  let loading = false;
  const reload = async (): Promise<void> => {
    if (loading) return;
    loading = true;
    try {
      const make = await file.load();
      if (!closed) reloaded(report(server.replace(make), lines));
    } catch (error) {
      const { message, detail = [] } = error as Partial<DeviceFileError>;
      lines.error({ detail }, `not reloaded, the old device goes on: ${message}`);
      reloaded('failed');
    }
    loading = false;
    // For what was saved meanwhile, and for files that were not known before.
    if (!closed) watcher.look();
  };
  const watcher = new FileWatcher(file.files, () => void reload());
  return () => {
    closed = true;
    watcher.close();
  };
}

function report(done: ReturnType<Server['replace']>, log: Logger): ReloadResult {
  let result: ReloadResult = 'reloaded';
  for (const { socket, error } of done) {
    if (error === undefined) {
      log.info({ socket }, 'reloaded; the front-end stays');
      continue;
    }
    const refused = error.name === 'ReplaceError';
    if (result !== 'failed') result = refused ? 'refused' : 'failed';
    const detail = refused ? [] : (explainError(error)?.lines ?? []);
    log.error({ socket, detail }, `not reloaded, the old device goes on: ${error.message}`);
  }
  if (done.length === 0) log.info('reloaded');
  return result;
}
